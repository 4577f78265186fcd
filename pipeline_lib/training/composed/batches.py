"""Batches of composed training: queries in a fresh shuffle each epoch, their targets, and mined negatives."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.loading.dataset import shuffled_batches
from pipeline_lib.models.composed.inputs import ComposedInputs
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.training.composed.mining import draw_negatives
from pipeline_lib.training.composed.stored_inputs import InputReader, Rows
from pipeline_lib.training.composed.triplets import Triplets


@dataclass(frozen=True)
class ComposedBatch:
    """Inputs of queries (batch) and of targets (gallery), target i for query i; all others are negatives.

    `positives` (batch, gallery) is True where a target answers the query or may do so; None = not known.
    `queries` (batch,) and `products` (gallery,) are rows of the triplets.
    """

    reference: ComposedInputs
    target: ComposedInputs
    positives: Tensor | None
    queries: Rows
    products: Rows


@dataclass(frozen=True)
class BatchBuilder:
    """Builds the batches of an epoch; `product_rows` and `text_rows` have the triplets' rows in the reader."""

    triplets: Triplets
    reader: InputReader
    params: ComposedParams
    product_rows: Rows
    text_rows: Rows

    def num_batches(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.epoch(0))

    def epoch(self, epoch: int) -> list[Rows]:
        """Return the queries of each batch."""
        return [
            rows for _, rows in shuffled_batches(len(self.triplets), self.params.batch_size, self.params.seed, epoch)
        ]

    def build(self, queries: Rows, targets: Rows, mined: Rows | None, epoch: int) -> ComposedBatch:
        """Return the batch of some queries; `targets` (all queries,) and `mined` (all queries, n) are the epoch's."""
        params, triplets = self.params, self.triplets
        products = targets[queries]
        if mined is not None:
            negatives = draw_negatives(mined, queries, params.mined_negatives, params.seed, epoch)
            products = np.concatenate([products, np.setdiff1d(negatives, products)])
        positives = None
        if params.mask_false_negatives:
            positives = torch.from_numpy(triplets.answered_by(queries, products))
        return ComposedBatch(
            reference=self.reader.references(
                self.product_rows[triplets.reference[queries]], self.text_rows[triplets.text[queries]]
            ),
            target=self.reader.targets(self.product_rows[products]),
            positives=positives,
            queries=queries,
            products=products,
        )

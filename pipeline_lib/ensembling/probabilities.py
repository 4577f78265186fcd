"""Fuses the class probabilities of one gallery's members, and returns them as the tables that later stages read.

A gallery is fused in blocks of products: a million products with 5,000 classes are 20 GB.

Members are ordered by fold, then by scale. A fold's gallery uses its own model at each scale, test uses all members.
External experiments follow; each has already fused its own members.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import block_rows
from pipeline_lib.ensembling.external_predictions import ExternalPredictions
from pipeline_lib.ensembling.fit import Fitted, HeldOut, equal_shares
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.means import MEANS, Matrix
from pipeline_lib.ensembling.members import Member
from pipeline_lib.ensembling.temperature import scaled
from pipeline_lib.metrics.classification import class_numbers, true_class_ranks
from pipeline_lib.params.ensemble import MeanKind
from pipeline_lib.stores.store import FeatureStore

# Values (products x classes x sources) of a fit, which has all of them in memory, at 26 to 28 bytes each: 2 GB.
FIT_VALUES = 1 << 26


class ProbabilitySource(Protocol):
    """A source of class probabilities: a fold's model at one scale, or an external experiment."""

    def rows(self, ids: Sequence[str], /) -> Matrix:
        """Return the class probabilities of `ids`, (ids, classes)."""


@dataclass(frozen=True)
class FusedGallery:
    """One gallery with the members that predict it and their fit; the tables are computed block by block."""

    gallery: GalleryMembers
    members: list[Member]
    mean: MeanKind
    fitted: Fitted
    external: Sequence[ExternalPredictions] = ()

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of the columns."""
        return self.members[0].classes

    def probabilities(self) -> Iterator[pl.DataFrame]:
        """Yield PREDICTIONS_SCHEMA rows after temperature scaling."""
        for products, fused in self._blocks():
            after = scaled(fused, self.fitted.temperature)
            yield predictions_table(self.gallery, products, self.classes, after)

    def scores(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Yield CLASS_SCORES_SCHEMA rows before and after temperature scaling."""
        for products, fused in self._blocks():
            before = scores_table(self.gallery, products, self.classes, fused)
            after = scaled(fused, self.fitted.temperature)
            yield before, before if after is fused else scores_table(self.gallery, products, self.classes, after)

    def out_of_fold(self) -> Iterator[pl.DataFrame]:
        """Yield rows of the out-of-fold table: all products at each scale, then as published, with a null scale."""
        for member in self.members:
            assert member.probabilities is not None
            for products in self._products():
                yield self._held_out(
                    products, member.scale, member.probabilities.rows(products["product_id"].to_list())
                )
        for products, fused in self._blocks():
            yield self._held_out(products, None, scaled(fused, self.fitted.temperature))

    def _products(self) -> Iterator[pl.DataFrame]:
        return self.gallery.products.iter_slices(block_rows(len(self.classes)))

    def _blocks(self) -> Iterator[tuple[pl.DataFrame, Matrix]]:
        stores = [member.probabilities for member in self.members if member.probabilities is not None]
        for products in self._products():
            ids = products["product_id"].to_list()
            yield products, fuse_probabilities(self.mean, stores, ids, self.fitted, self.external)

    def _held_out(self, products: pl.DataFrame, scale: int | None, probabilities: Matrix) -> pl.DataFrame:
        return products.select(
            id="product_id",
            fold=pl.lit(self.gallery.fold, pl.Int64),
            truth="label",
            scale=pl.lit(scale, pl.Int64),
            probabilities=_arrays(probabilities),
        )


def predictions_table(
    gallery: GalleryMembers, products: pl.DataFrame, classes: Sequence[str], probabilities: Matrix
) -> pl.DataFrame:
    """Return PREDICTIONS_SCHEMA rows for `products` (product_id, label, group_id) of a gallery.

    The first of equally probable classes is predicted.
    """
    return products.select(
        **_predicted(gallery, classes, probabilities),
        probabilities=_arrays(probabilities).arr.to_list(),
        group_id="group_id",
    )


def scores_table(
    gallery: GalleryMembers, products: pl.DataFrame, classes: Sequence[str], probabilities: Matrix
) -> pl.DataFrame:
    """Return CLASS_SCORES_SCHEMA rows of the same predictions; a label that no model learned has no rank."""
    truth = class_numbers(products["label"], classes)
    learned = ~products["label"].is_in(list(gallery.unlearned)).fill_null(False)
    known, own = pl.Series(truth >= 0) & learned, np.maximum(truth, 0)
    shares = np.take_along_axis(probabilities, own[:, None], axis=1)[:, 0]
    return products.select(
        **_predicted(gallery, classes, probabilities),
        confidence=pl.Series(probabilities.max(axis=1), dtype=pl.Float32),
        label_probability=pl.when(known).then(pl.Series(shares, dtype=pl.Float32)),
        label_rank=pl.when(known).then(pl.Series(true_class_ranks(own, probabilities) + 1, dtype=pl.Int64)),
        group_id="group_id",
    )


def fuse_probabilities(
    mean: MeanKind,
    stores: Sequence[FeatureStore],
    ids: Sequence[str],
    fitted: Fitted,
    external: Sequence[ExternalPredictions] = (),
) -> Matrix:
    """Return the mean class probabilities of `ids` over all sources, (ids, classes), before temperature scaling.

    Fitted weights are those of the scales, repeated for each fold, then those of the external experiments.
    """
    weights = fitted.weights
    if weights is None and external:
        weights = equal_shares(len(stores), len(external))
    elif weights is not None:
        scales = weights[: len(weights) - len(external)]
        num_folds = len(stores) // len(scales)
        weights = np.concatenate([np.tile(scales, num_folds) / num_folds, weights[len(scales) :]])
    sources: list[ProbabilitySource] = [*stores, *external]
    return MEANS[mean].fuse((source.rows(ids) for source in sources), weights)


def held_out(
    galleries: Sequence[GalleryMembers], members: Sequence[Member], external: Sequence[ExternalPredictions] = ()
) -> tuple[list[HeldOut], int]:
    """Return each fold's labelled products with each source's probabilities, and how many can be fitted on.

    Of more than FIT_VALUES values some products are drawn: those with the smallest hashes of their ids, in any order of
    the rows. Without a classifier there is no fold.
    """
    classes = members[0].classes
    if not classes:
        return [], 0
    sources: dict[int, list[ProbabilitySource]] = {}
    known: dict[int, pl.DataFrame] = {}
    for gallery in galleries:
        if gallery.fold is not None:
            stores = (member.probabilities for member in gallery.eligible(members))
            sources[gallery.fold] = [*(store for store in stores if store is not None), *external]
            known[gallery.fold] = gallery.products.filter(
                pl.col("label").is_in(classes), ~pl.col("label").is_in(list(gallery.unlearned))
            )
    ids = [product for products in known.values() for product in products["product_id"]]
    limit = max(1, FIT_VALUES // (len(classes) * max(map(len, sources.values()), default=1)))
    if len(ids) > limit:
        drawn = sorted(ids, key=_hash)[:limit]
        known = {fold: products.filter(pl.col("product_id").is_in(drawn)) for fold, products in known.items()}
    parts = []
    for fold, products in known.items():
        chosen = products["product_id"].to_list()
        rows = np.stack([source.rows(chosen) for source in sources[fold]])
        parts.append(HeldOut(fold, rows, class_numbers(products["label"], classes), len(external)))
    return parts, len(ids)


def _hash(product_id: str) -> bytes:
    return blake2b(product_id.encode(), digest_size=8).digest()


def _arrays(probabilities: Matrix) -> pl.Series:
    return pl.Series(probabilities, dtype=pl.Array(pl.Float32, probabilities.shape[1]))


def _predicted(
    gallery: GalleryMembers, classes: Sequence[str], probabilities: Matrix
) -> dict[str, pl.Expr | pl.Series]:
    """Return the first columns of both tables: product, split, fold and label, and the predicted class."""
    return {
        "product_id": pl.col("product_id"),
        "split": pl.lit(gallery.split),
        "fold": pl.lit(gallery.fold, pl.Int64),
        "label": pl.col("label"),
        "predicted": pl.Series([classes[number] for number in probabilities.argmax(axis=1)], dtype=pl.String),
    }

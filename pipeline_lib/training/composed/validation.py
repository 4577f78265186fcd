"""Validation of a composed model after an epoch: the figures of `composed.protocol` in the held-out fold's gallery."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS, composed_trees
from pipeline_lib.evaluation.composed_ranks import ComposedGallery, rank_composed
from pipeline_lib.metrics.composed import vector_scores
from pipeline_lib.params.composed import ComposedProtocolName
from pipeline_lib.training.composed.embeddings import Embedder, GalleryRows

NO_SLICES = pl.DataFrame(schema={"query_id": pl.String, "slice": pl.String})
DIRECTION = "composed_model"


@dataclass(frozen=True)
class ComposedValidator:
    """The held-out gallery and the rows of its queries and products; `folder` is for embeddings of one epoch."""

    gallery: ComposedGallery
    rows: GalleryRows
    protocol: ComposedProtocolName
    folder: Path

    def measure(self, embedder: Embedder) -> dict[str, float]:
        """Return the figures by name, without intervals."""
        protocol = COMPOSED_PROTOCOLS[self.protocol]
        queries = embedder.queries(self.rows.references, self.rows.texts)
        with TemporaryDirectory(dir=self.folder) as folder:
            products = embedder.products(self.rows.products, Path(folder))
            score = vector_scores(queries, products)
            ranks, _ = rank_composed(self.gallery, score, protocol.rule, DIRECTION, 0)
        figures = composed_trees(ranks, protocol, NO_SLICES)[0]["composed"]["model"][self.gallery.split]
        return {name: value for name, value in figures.items() if isinstance(value, float)}

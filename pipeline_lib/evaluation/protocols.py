"""The retrieval protocols of `evaluate.protocol`, so that figures can be compared with published ones.

All protocols but `row_paired` rank complete galleries and count a hit if any relevant item is among the first k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline_lib.evaluation.bidirectional import bidirectional_trees
from pipeline_lib.evaluation.query_slices import query_slice_trees
from pipeline_lib.evaluation.query_subsets import query_subset_trees
from pipeline_lib.evaluation.summary import merged, retrieval_trees
from pipeline_lib.metrics.gallery_ranks import SUBSET, Gallery, rank_gallery
from pipeline_lib.metrics.paired_rows import rank_rows

Tree = dict[str, Any]
# Contract: a gallery, the relevance table and a torch device -> RANKS_SCHEMA rows.
Rank = Callable[[Gallery, pl.DataFrame, str], pl.DataFrame]
# Contract: ranks -> trees of figures and of their intervals.
Trees = Callable[[pl.DataFrame], tuple[Tree, Tree]]


@dataclass(frozen=True)
class Protocol:
    """How ranks are computed, the figures in addition to R@k and MeanRecall, and a warning for the reader."""

    rank: Rank = rank_gallery
    more: Trees | None = None
    warning: str = ""

    def warnings(self) -> list[str]:
        """Return the warning as a line, if there is one."""
        return [f"warning: {self.warning}"] if self.warning else []

    def trees(
        self, ranks: pl.DataFrame, resamples: int, seed: int, slices: pl.DataFrame | None = None
    ) -> tuple[Tree, Tree]:
        """Return {split: {retrieval: figures}} and the same tree of intervals; `slices` are those of the queries.

        A protocol that does not rank queries has neither slices nor subsets.
        """
        trees = [retrieval_trees(ranks.filter(pl.col("direction") != SUBSET), resamples, seed)]
        if self.more is not None:
            trees.append(self.more(ranks))
        if slices is not None and self.rank is rank_gallery:
            trees += [query_slice_trees(ranks, slices), query_subset_trees(ranks, slices)]
        figures, intervals = zip(*trees, strict=True)
        return merged(*figures), merged(*intervals)


# Name in params.yaml -> protocol. MUGE counts hits as `catalogue` does, over its own relevance.
PROTOCOLS: dict[str, Protocol] = {
    "catalogue": Protocol(),
    "muge": Protocol(),
    "five_caption": Protocol(more=bidirectional_trees),
    "row_paired": Protocol(
        rank=rank_rows,
        warning="evaluate.protocol = row_paired counts an image's own captions as wrong: it understates R@1 about five "
        "times if images have five captions. Compare it only with old logs of this protocol",
    ),
}

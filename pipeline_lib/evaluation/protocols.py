"""The ways of counting that `evaluate.protocol` may name, so that a figure can be compared with one counted alike.

Ranks come from whole galleries in all of them but `row_paired`, and a hit is any right answer among the first k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline_lib.evaluation.bidirectional import bidirectional_trees
from pipeline_lib.evaluation.summary import merged, retrieval_trees
from pipeline_lib.metrics.gallery_ranks import Gallery, rank_gallery
from pipeline_lib.metrics.paired_rows import rank_rows

Tree = dict[str, Any]
# Contract: a gallery and the relevance table -> RANKS_SCHEMA rows.
Rank = Callable[[Gallery, pl.DataFrame], pl.DataFrame]
# Contract: ranks, resamples, seed -> trees of figures and of their intervals.
Trees = Callable[[pl.DataFrame, int, int], tuple[Tree, Tree]]


@dataclass(frozen=True)
class Protocol:
    """How ranks are told, what is published beside R@k and MeanRecall, and what a reader must be warned of."""

    rank: Rank = rank_gallery
    more: Trees | None = None
    warning: str = ""

    def trees(self, ranks: pl.DataFrame, resamples: int, seed: int) -> tuple[Tree, Tree]:
        """Return {split: {retrieval: figures}} and the same tree of intervals."""
        found = retrieval_trees(ranks, resamples, seed)
        if self.more is None:
            return found
        figures, intervals = zip(found, self.more(ranks, resamples, seed), strict=True)
        return merged(*figures), merged(*intervals)


# Name in params.yaml -> protocol. MUGE counts hits over its own answers, as the catalogue does over its.
PROTOCOLS: dict[str, Protocol] = {
    "catalogue": Protocol(),
    "muge": Protocol(),
    "five_caption": Protocol(more=bidirectional_trees),
    "row_paired": Protocol(
        rank=rank_rows,
        warning="evaluate.protocol = row_paired counts an image's own captions as wrong: it understates R@1 about five "
        "times where images have five captions. Compare it with old logs of this protocol only",
    ),
}

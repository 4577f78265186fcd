"""Caption retrieval figures over both directions: mR of each direction, total mR, and the sum.

mR is the mean of R@1, R@5 and R@10 of one direction, total mR the mean of all six, and sum their sum, so 6 x total mR.
Their intervals leave out groups of both directions at once: an image together with all its captions.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.evaluation.jackknife import clusters
from pipeline_lib.evaluation.summary import DIGITS, with_intervals
from pipeline_lib.metrics.ranking import CUTOFFS, ranks_of
from pipeline_lib.metrics.tied_ranks import TiedRanks
from pipeline_lib.metrics.weighted import Counts, Statistic, weighted_means

Tree = dict[str, Any]


def bidirectional_trees(ranks: pl.DataFrame) -> tuple[Tree, Tree]:
    """Return {split: {retrieval: {direction: {mR}, total_mR, sum}}} and the same tree of [low, high].

    A split that is ranked in one direction only is left out.
    """
    figures: Tree = {}
    intervals: Tree = {}
    for (split,), part in ranks.group_by("split", maintain_order=True):
        text, image = (part.filter(pl.col("direction") == name) for name in ("text_to_image", "image_to_text"))
        if text.is_empty() or image.is_empty():
            continue
        statistic = bidirectional_statistic(ranks_of(text), ranks_of(image))
        groups = clusters(pl.concat([text["group_id"], image["group_id"]]))
        values, spans = with_intervals(statistic, ("text", "image", "total"), groups)
        figures[split] = _branch([*values.values(), round(6 * values["total"], DIGITS)])
        intervals[split] = _branch([*spans.values(), [round(6 * limit, DIGITS) for limit in spans["total"]]])
    return figures, intervals


def bidirectional_statistic(text: TiedRanks, image: TiedRanks) -> Statistic:
    """Return the statistic of (mR text to image, mR image to text, total mR); units are the ranks, text first."""
    hits = [np.stack([ranks.hits(k) for k in CUTOFFS], axis=1).mean(axis=1, keepdims=True) for ranks in (text, image)]

    def figures(counts: Counts) -> NDArray[np.float64]:
        means = [weighted_means(*pair) for pair in zip(hits, np.split(counts, [len(text)], axis=1), strict=True)]
        return np.concatenate([*means, (means[0] + means[1]) / 2], axis=1)

    return figures


def _branch(values: list[Any]) -> Tree:
    text, image, total, sum_of_six = values
    directions = {"text_to_image": {"mR": text}, "image_to_text": {"mR": image}}
    return {"retrieval": {**directions, "total_mR": total, "sum": sum_of_six}}

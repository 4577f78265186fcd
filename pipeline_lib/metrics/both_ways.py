"""The figures that caption retrieval reports over both directions: mR of each, total mR, and their sum.

mR = mean(R@1, R@5, R@10) of a direction; total mR = the mean of the six; sum = the six added, so 6 x total mR. What is
drawn for the intervals is an image with all its captions: five captions of one image are not five independent queries.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.bootstrap import percentile_intervals
from pipeline_lib.metrics.ranking import CUTOFFS
from pipeline_lib.metrics.weighted import Counts, Statistic, point, weighted_means

Tree = dict[str, Any]
DIGITS = 6
HITS = tuple(f"R@{k}" for k in CUTOFFS)


def mean_recall(recalls: dict[str, float]) -> float:
    """Return the mean of R@1, R@5 and R@10.

    >>> round(mean_recall({"R@1": 0.1500, "R@5": 0.3312, "R@10": 0.4413}), 4)
    0.3075
    """
    return sum(recalls[name] for name in HITS) / len(HITS)


def totals(text_to_image: dict[str, float], image_to_text: dict[str, float]) -> dict[str, float]:
    """Return total_mR and sum of the two directions' R@1, R@5 and R@10, in their unit."""
    total = (mean_recall(text_to_image) + mean_recall(image_to_text)) / 2
    return {"total_mR": total, "sum": 6 * total}


def both_ways_trees(ranks: pl.DataFrame, relevance: pl.DataFrame, resamples: int, seed: int) -> tuple[Tree, Tree]:
    """Return {split: {retrieval: {direction: {mR}, total_mR, sum}}} and the same tree of [low, high].

    A split that was ranked in one direction only has no total.
    """
    figures: Tree = {}
    intervals: Tree = {}
    for (split,), part in ranks.group_by("split", maintain_order=True):
        text, image = (part.filter(pl.col("direction") == way) for way in ("text_to_image", "image_to_text"))
        if text.is_empty() or image.is_empty():
            continue
        statistic = both_ways_statistic(text["rank"].to_numpy(), image["rank"].to_numpy())
        values = point(statistic, len(part)).round(DIGITS).tolist()
        spans = percentile_intervals(statistic, len(part), resamples, seed, _image_of(text, image, relevance))
        figures[split] = _branch(values)
        intervals[split] = _branch(spans.round(DIGITS).tolist())
    return figures, intervals


def both_ways_statistic(text: NDArray[np.float64], image: NDArray[np.float64]) -> Statistic:
    """Return the statistic of (mR text to image, mR image to text, total mR, sum); units are all ranks, text first."""
    hits = [np.stack([ranks <= k for k in CUTOFFS], axis=1).mean(axis=1, keepdims=True) for ranks in (text, image)]

    def figures(counts: Counts) -> NDArray[np.float64]:
        ways = [weighted_means(*pair) for pair in zip(hits, np.split(counts, [len(text)], axis=1), strict=True)]
        total = (ways[0] + ways[1]) / 2
        return np.concatenate([*ways, total, 6 * total], axis=1)

    return figures


def _image_of(text: pl.DataFrame, image: pl.DataFrame, relevance: pl.DataFrame) -> NDArray[np.int64]:
    """Return the number of the image that each rank belongs to, text ranks first; a query's is its first answer."""
    answers = relevance.filter(pl.col("grade") > 0).join(image, left_on="product_id", right_on="query_id", how="semi")
    first = answers.unique("query_id", keep="first", maintain_order=True).select("query_id", "product_id")
    asked = text.select("query_id").join(first, on="query_id", how="left", maintain_order="left")["product_id"]
    return pl.concat([asked, image["query_id"]]).rank("dense").cast(pl.Int64).to_numpy() - 1


def _branch(values: list[Any]) -> Tree:
    text, image, total, added = values
    ways = {"text_to_image": {"mR": text}, "image_to_text": {"mR": image}}
    return {"retrieval": {**ways, "total_mR": total, "sum": added}}

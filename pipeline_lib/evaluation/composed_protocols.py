"""The protocols of composed retrieval: which products are ranked, and which figures are published.

`composed_trees` turns the rows of `rank_composed` (COMPOSED_RANKS_SCHEMA, of one or several kinds of retrieval) into
figures, chance and intervals. Soft answers are published beside the official figures and change none of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import COMPOSED_PRECISIONS
from pipeline_lib.evaluation.composed_ranks import GalleryRule
from pipeline_lib.evaluation.jackknife import clusters
from pipeline_lib.evaluation.summary import DIGITS, with_intervals
from pipeline_lib.metrics.ranking import chance_of, ranks_of
from pipeline_lib.metrics.weighted import Counts, Statistic, point

Tree = dict[str, Any]
Values = NDArray[np.float64]
# A smaller slice says little, and every group of paraphrases is one: they are counted and not published.
MIN_SLICE = 10
PREFIX = "composed_"
OFF = "_fusion_off"  # behind the name of a kind: its models with their fusion switched off
RANK_COLUMNS = ("rank", "num_right", "tied_right", "tied_wrong")


@dataclass(frozen=True)
class Contribution:
    """What each query adds to the mean of one figure, (queries,), NaN for none; `chance` for a random order."""

    values: Values
    chance: Values


# Contract: COMPOSED_RANKS_SCHEMA rows of one split and kind -> what each query adds to each figure.
Figures = Callable[[pl.DataFrame], dict[str, Contribution]]


@dataclass(frozen=True)
class ComposedProtocol:
    """What is ranked and which figures are published.

    `means` are means of figures, by name. With `by_category` a figure is the mean of those of the categories, which are
    published, too. `slice_figures` are those of each slice.
    """

    figures: Figures
    slice_figures: Figures
    rule: GalleryRule = field(default_factory=GalleryRule)
    means: Mapping[str, Sequence[str]] = field(default_factory=dict)
    by_category: bool = False
    needs_subset: bool = False


def composed_trees(rows: pl.DataFrame, protocol: ComposedProtocol, slices: pl.DataFrame) -> tuple[Tree, Tree]:
    """Return {"composed": {KIND: {split: figures}}} and the same tree of [low, high].

    KIND is the column `direction` without its prefix `composed_`, split is oof or test. Beside the figures are
    num_queries, num_gallery (the mean), `chance` with the figures of a random order, `categories`, and `slices` of the
    table query_slices with slices_left_out, the number of those with fewer than MIN_SLICE queries. Raises ValueError
    for a query without a subset if the protocol needs one.
    """
    figures: Tree = {}
    intervals: Tree = {}
    for (split, direction), part in rows.group_by("split", "direction", maintain_order=True):
        _check_subsets(part, protocol)
        value, interval = _figures(part, protocol.figures, protocol.means, protocol.by_category)
        if protocol.by_category:
            named = {str(name): some for (name,), some in part.group_by("category", maintain_order=True)}
            _add("categories", named, protocol.figures, (value, interval))
        joined = part.join(slices, on="query_id", how="inner", maintain_order="left")
        named = {str(name): some for (name,), some in joined.sort("slice").group_by("slice", maintain_order=True)}
        large = {name: some for name, some in named.items() if some.height >= MIN_SLICE}
        if named:
            _add("slices", large, protocol.slice_figures, (value, interval))
            value["slices_left_out"] = len(named) - len(large)
        kind = str(direction).removeprefix(PREFIX)
        figures.setdefault(kind, {})[split] = value
        intervals.setdefault(kind, {})[split] = interval
    return ({"composed": figures}, {"composed": intervals}) if figures else ({}, {})


def recalls(prefix: str, name: str, cutoffs: Sequence[int]) -> Figures:
    """Return the figures {name}@k of the ranks in the columns with a prefix: `` | answer_ | subset_.

    They are left out if no query has such a rank.
    """

    def figures(rows: pl.DataFrame) -> dict[str, Contribution]:
        size = f"{prefix}num_gallery" if f"{prefix}num_gallery" in rows.columns else "num_gallery"
        columns = {column: f"{prefix}{column}" for column in RANK_COLUMNS} | {"num_gallery": size}
        ranked = rows[f"{prefix}rank"].is_not_null()
        own = rows.filter(ranked).select(**{column: pl.col(source) for column, source in columns.items()})
        found = {}
        for k in cutoffs if own.height else ():
            sides = np.full((2, rows.height), np.nan)
            sides[:, ranked.to_numpy()] = ranks_of(own).hits(k), chance_of(own).hits(k)
            found[f"{name}@{k}"] = Contribution(*sides)
        return found

    return figures


def soft_recalls(cutoffs: Sequence[int]) -> Figures:
    """Return the figures R_soft@k, where soft answers are hits as targets are; none if no query has a soft answer."""
    counted = recalls("answer_", "R_soft", cutoffs)

    def figures(rows: pl.DataFrame) -> dict[str, Contribution]:
        return counted(rows) if (rows["answer_num_right"] > rows["num_right"]).any() else {}

    return figures


def precisions(cutoffs: Sequence[int] = COMPOSED_PRECISIONS) -> Figures:
    """Return the figures mAP@K over all relevant products."""

    def figures(rows: pl.DataFrame) -> dict[str, Contribution]:
        def column(name: str, k: int) -> Values:
            values: Values = rows[name].list.get(COMPOSED_PRECISIONS.index(k)).to_numpy()
            return values

        return {f"mAP@{k}": Contribution(column("ap", k), column("chance_ap", k)) for k in cutoffs}

    return figures


def together(*parts: Figures) -> Figures:
    """Return the figures of all parts."""
    return lambda rows: {name: one for part in parts for name, one in part(rows).items()}


# Value of composed.protocol -> protocol; docs/metrics.md says what each counts.
COMPOSED_PROTOCOLS: dict[str, ComposedProtocol] = {
    "catalogue": ComposedProtocol(
        together(recalls("", "R", (1, 5, 10)), recalls("subset_", "R_subset", (1, 2, 3)), soft_recalls((1, 5, 10))),
        recalls("", "R", (1, 5, 10)),
    ),
    "cirr": ComposedProtocol(
        together(
            recalls("", "R", (1, 5, 10, 50)),
            recalls("subset_", "R_subset", (1, 2, 3)),
            soft_recalls((1, 5, 10, 50)),
        ),
        recalls("", "R", (1, 5)),
        means={"mean": ("R@5", "R_subset@1")},
        needs_subset=True,
    ),
    "fashion_iq": ComposedProtocol(
        recalls("", "R", (10, 50)),
        recalls("", "R", (10, 50)),
        GalleryRule(without_reference=False, same_label=True),
        means={"mean": ("R@10", "R@50")},
        by_category=True,
    ),
    "circo": ComposedProtocol(
        together(precisions(), recalls("", "R", COMPOSED_PRECISIONS)),
        precisions((10,)),
        GalleryRule(without_reference=False),
    ),
}


def _check_subsets(rows: pl.DataFrame, protocol: ComposedProtocol) -> None:
    without = rows.filter(pl.col("subset_rank").is_null())
    if protocol.needs_subset and without.height:
        raise ValueError(
            f"composed.protocol: query {without['query_id'][0]!r} has no subset with a target in it, which this "
            "protocol ranks; write subsets for all queries, or set composed.protocol to catalogue"
        )


def _add(name: str, parts: dict[str, pl.DataFrame], counted: Figures, trees: tuple[Tree, Tree]) -> None:
    """Add the branch `name` with the figures of each part to the trees of figures and of intervals."""
    branches = {key: _figures(part, counted, {}, False) for key, part in parts.items()}
    for number, tree in enumerate(trees):
        tree[name] = {key: branch[number] for key, branch in branches.items()}


def _figures(
    rows: pl.DataFrame, counted: Figures, means: Mapping[str, Sequence[str]], by_category: bool
) -> tuple[Tree, Tree]:
    """Return the figures of the rows, num_queries, num_gallery and chance, and the intervals of the figures."""
    added = counted(rows)
    wanted = {name: (name,) for name in added} | {name: tuple(parts) for name, parts in means.items()}
    values: Tree = {}
    chance: Tree = {}
    intervals: Tree = {}
    for names, has in _by_mask(added, wanted):
        own = rows.filter(has)
        categories = clusters(own["category"].fill_null("")) if by_category else np.zeros(own.height, np.int64)
        statistics = []
        for side in ("values", "chance"):
            columns = [[getattr(added[part], side)[has] for part in wanted[name]] for name in names]
            statistics.append(_statistic(columns, categories))
        figures, spans = with_intervals(statistics[0], names, clusters(own["group_id"]))
        values |= figures
        intervals |= spans
        at_random = point(statistics[1], own.height).tolist()
        chance |= {name: round(value, DIGITS) for name, value in zip(names, at_random, strict=True)}
    sizes = {"num_queries": rows.height, "num_gallery": round(rows["num_gallery"].to_numpy().mean())}
    return values | sizes | {"chance": chance}, intervals


def _by_mask(
    added: dict[str, Contribution], wanted: Mapping[str, Sequence[str]]
) -> Iterator[tuple[list[str], NDArray[np.bool_]]]:
    """Yield the figures that the same queries have values of, with these queries."""
    masks: dict[bytes, tuple[list[str], NDArray[np.bool_]]] = {}
    for name, parts in wanted.items():
        has = np.all([~np.isnan(added[part].values) for part in parts], axis=0)
        masks.setdefault(has.tobytes(), ([], has))[0].append(name)
    yield from masks.values()


def _statistic(columns: list[list[Values]], categories: NDArray[np.int64]) -> Statistic:
    """Return the statistic of one figure for each list of columns (queries,): the mean of their means over categories.

    A category without a query in a resample counts not at all there.
    """
    stacked = np.stack([np.mean(parts, axis=0) for parts in columns], axis=1)
    member = (categories[:, None] == np.arange(categories.max() + 1)).astype(np.float64)

    def figures(counts: Counts) -> Values:
        sizes = counts @ member
        sums = np.stack([(counts * column) @ member for column in stacked.T], axis=1)
        means = np.divide(sums, sizes[:, None], out=np.full(sums.shape, np.nan), where=sizes[:, None] > 0)
        result: Values = np.nanmean(means, axis=2)
        return result

    return figures

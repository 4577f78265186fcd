"""The headline: every published figure with its interval.

The report page and `vitrine headline` format the same rows, so they always show the same figures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Tree = Mapping[str, Any]
SPLITS = {"test": "Test", "oof": "Out of fold"}
DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
# A figure that a random order reaches with this probability says nothing about the model.
CERTAIN = 0.995
NO_FIGURE = "no figure"


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal; only all is 100 %.

    >>> percent(0.4721), percent(1 / 500), percent(1 / 30_000), percent(0.9996), percent(1.0)
    ('47.2 %', '0.2 %', '0.003 %', '>99.9 %', '100.0 %')
    """
    if 0.9995 <= value < 1:
        return ">99.9 %"
    return f"{value * 100:.1f} %" if value == 0 or value >= 0.001 else f"{value * 100:.1g} %"


def probability(value: float) -> str:
    """Return a model's probability, which is never certain, even if its floating-point number is.

    >>> probability(0.732), probability(0.9996), probability(1.0), probability(0.0004)
    ('73.2 %', '>99.9 %', '>99.9 %', '<0.1 %')
    """
    return ">99.9 %" if value > 0.9994 else "<0.1 %" if value < 0.0006 else percent(value)


def rank(value: float) -> str:
    """Return a rank or a mean of ranks.

    >>> rank(3.0), rank(2.5), rank(41.0372)
    ('3', '2.5', '41')
    """
    return f"{value:,.0f}" if value == int(value) or value >= 10 else f"{value:.1f}"


def count(value: float) -> str:
    """Return a whole number with thousands separators."""
    return f"{value:,.0f}"


def hundredths(value: float) -> str:
    """Return a share in percent with two decimals and without the sign.

    >>> hundredths(0.32105), hundredths(1.9263)
    ('32.10', '192.63')
    """
    return f"{100 * value:.2f}"


def fraction(value: float) -> str:
    """Return a figure between 0 and 1 with three decimals.

    >>> fraction(0.6114)
    '0.611'
    """
    return f"{value:.3f}"


# Leaf of metrics.json -> (heading, format), in the order of the columns.
Columns = dict[str, tuple[str, Callable[[float], str]]]
RETRIEVAL: Columns = {
    "R@1": ("R@1", percent),
    "R@5": ("R@5", percent),
    "R@10": ("R@10", percent),
    "R_subset@1": ("R_subset@1", percent),
    "MeanRecall": ("Mean recall", percent),
    "median_rank": ("Median rank", rank),
    "mean_rank": ("Mean rank", rank),
    "num_queries": ("Queries", count),
    "num_gallery": ("Gallery", count),
}
# The figures of a slice of the queries.
SLICE: Columns = {key: RETRIEVAL[key] for key in ("R@1", "R@5", "R@10", "R_subset@1", "num_queries", "num_gallery")}
CLASSIFICATION: Columns = {
    "top1": ("Top-1", percent),
    "top3": ("Top-3", percent),
    "macro_f1": ("Macro-F1", percent),
    "balanced_accuracy": ("Balanced accuracy", percent),
    "ece": ("Calibration error", percent),
}
# Of the queries that people judged on the search page.
JUDGED: Columns = {
    "nDCG@10": ("nDCG@10", fraction),
    "preference": ("Preference", percent),
    "num_queries": ("Queries", count),
}
# Over both directions of retrieval, as benchmarks with five captions an image report them.
TOTALS: Columns = {"total_mR": ("total mR", hundredths), "sum": ("sum", hundredths)}


def column_groups(columns: Columns) -> list[Columns]:
    """Return the columns by what they rank, for tables of 80 characters: R@k beside what has no cut-off, subsets, mAP.

    >>> [list(group) for group in column_groups(dict.fromkeys(["mean", "R@1", "R_subset@1", "R@5"], ("", percent)))]
    [['mean', 'R@1', 'R@5'], ['R_subset@1']]
    """
    names = {key: key.partition("@")[0] for key in columns if "@" in key}
    first = next(iter(names.values()), "")
    groups: dict[str, Columns] = {}
    for key, column in columns.items():
        groups.setdefault(names.get(key, first), {})[key] = column
    return list(groups.values())


@dataclass(frozen=True)
class Figure:
    """One published number: its key, value, 95 % interval (None without one), and both as text.

    The text is NO_FIGURE, without an interval, if a random order reaches the figure, too. If chance is not known it is
    None, and its text empty.
    """

    key: str
    value: float
    interval: tuple[float, float] | None
    text: str
    interval_text: str
    chance: float | None = None
    chance_text: str = ""

    @property
    def void(self) -> bool:
        """Return whether the number says nothing about the model."""
        return self.text == NO_FIGURE


@dataclass(frozen=True)
class HeadlineRow:
    """The figures of one split and task.

    Tasks are text_to_image, image_to_text, both_directions, classification, composed_KIND, and slice_NAME for text to
    image with the queries of a slice; judged queries have the split judged and the task fold_FOLD.
    """

    split: str
    task: str
    title: str
    figures: list[Figure]


def retrieval_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row for each split and direction that was evaluated, test first."""
    rows = []
    for split, split_name in SPLITS.items():
        for direction, name in DIRECTIONS.items():
            path = (split, "retrieval", direction)
            if figures := figures_of(branch(metrics, *path), branch(intervals, *path), RETRIEVAL):
                rows.append(HeadlineRow(split, direction, f"{split_name}, {name}", figures))
    return rows


def slice_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row for each split and slice of the text queries, test first."""
    rows = []
    for split, split_name in SPLITS.items():
        path = (split, "retrieval", "text_to_image", "slices")
        for name, values in branch(metrics, *path).items():
            figures = figures_of(values, branch(intervals, *path, name), SLICE)
            rows.append(HeadlineRow(split, f"slice_{name}", f"{split_name}, {name}", figures))
    return rows


def classification_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row for each split whose labels were evaluated, test first."""
    rows = []
    for split, name in SPLITS.items():
        path = (split, "classification")
        if figures := figures_of(branch(metrics, *path), branch(intervals, *path), CLASSIFICATION):
            rows.append(HeadlineRow(split, "classification", name, figures))
    return rows


def judged_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row for each fold whose model was measured by judged queries."""
    return [
        HeadlineRow("judged", f"fold_{fold}", f"Fold {fold}", figures)
        for fold, values in branch(metrics, "judged").items()
        if values["num_queries"] and (figures := figures_of(values, branch(intervals, "judged", fold), JUDGED))
    ]


def total_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row of TOTALS for each split whose protocol counts both directions together, test first."""
    rows = []
    for split, name in SPLITS.items():
        path = (split, "retrieval")
        if figures := figures_of(branch(metrics, *path), branch(intervals, *path), TOTALS):
            rows.append(HeadlineRow(split, "both_directions", f"{name}, both directions", figures))
    return rows


def total_lines(metrics: Tree, intervals: Tree) -> list[str]:
    """Return the rows of `total_rows` as one line of text each."""
    return [
        f"{row.title}, in percent: "
        + ", ".join(
            f"{TOTALS[one.key][0]} {one.text}" + f" ({one.interval_text})" * (not one.void) for one in row.figures
        )
        for row in total_rows(metrics, intervals)
    ]


def branch(tree: Tree, *path: str) -> Tree:
    """Return the value under a path of keys, or an empty tree if a key is missing."""
    for key in path:
        tree = tree.get(key, {})
    return tree


def figures_of(values: Tree, intervals: Tree, columns: Columns) -> list[Figure]:
    """Return the figures of `values` that have a column, in the order of the columns, with their intervals."""
    figures = []
    void, chance = no_figures(values), values.get("chance", {})
    for key, (_, written) in columns.items():
        if key in values:
            low_high = intervals.get(key)
            interval = None if low_high is None else (float(low_high[0]), float(low_high[1]))
            between = "" if interval is None else limits(written, *interval)
            texts = (NO_FIGURE, "") if key in void else (written(values[key]), between)
            by_chance = (chance[key], written(chance[key])) if key in chance else (None, "")
            figures.append(Figure(key, values[key], interval, *texts, *by_chance))
    return figures


def limits(written: Callable[[float], str], low: float, high: float) -> str:
    """Return the ends of an interval as text without the sign; those of shares just below 1 are rounded outwards.

    >>> limits(percent, 0.451, 0.494), limits(percent, 0.986, 0.9997), limits(rank, 1.0, 2.5)
    ('45.1–49.4', '98.6–100.0', '1–2.5')
    """
    below, above = (written(end).removesuffix(" %") for end in (low, high))
    return f"{below.removeprefix('>')}–{'100.0' if above.startswith('>') else above}"


def no_figures(values: Tree) -> set[str]:
    """Return the keys of the figures of one split and task that a random order reaches, too.

    With R@1 the ranks go, with any R@k its mean, and with that of a direction the totals of both.

    >>> sorted(no_figures({"R@5": 0.6, "R@10": 1.0, "chance": {"R@5": 5 / 9, "R@10": 1.0}}))
    ['MeanRecall', 'R@10']
    """
    void = {key for key, share in values.get("chance", {}).items() if share >= CERTAIN}
    if "R@1" in void:
        void |= {"median_rank", "mean_rank"}
    if any(key.startswith("R@") for key in void):
        void.add("MeanRecall")
    if any("MeanRecall" in no_figures(part) for part in values.values() if isinstance(part, Mapping)):
        void |= set(TOTALS)
    return void

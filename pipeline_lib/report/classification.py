"""What stands behind the class figures: what fine-tuning gained, where a modality is missing, how sure is too sure.

And the labels that the models doubt, with their photos: whoever knows the goods sees at a glance which one is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline_lib.report.gallery import Item, described
from pipeline_lib.report.headline import CLASSIFICATION, SPLITS, Figure, branch, figures_of, percent
from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.photos import Thumbnails
from pipeline_lib.report.svg import Axes, Line, line_chart

BASELINES = {
    "linear_probe": "linear probe on the frozen trunk",
    "linear_probe_text": "linear probe on its texts alone",
    "linear_probe_image": "linear probe on its photos alone",
    "knn": "nearest neighbours in the frozen trunk",
    "zero_shot": "zero-shot, class names as prompts",
}
SIDES = {"image": "photo", "text": "text"}
MODALITIES = {"both": "photo and text", "image_only": "photo only", "text_only": "text only"}
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Compared:
    """A classifier's figures in one split, and what fine-tuning gained over it in each, with the interval."""

    title: str
    figures: list[Figure]
    gains: list[str]


@dataclass(frozen=True)
class Slice:
    """The figures of products of one kind in one split."""

    title: str
    num_products: int
    figures: list[Figure]


@dataclass(frozen=True)
class Doubt:
    """A product whose label is doubted: what it is called, what the models suggest, and both probabilities."""

    item: Item
    suggested: str
    probability: float
    label_probability: float


def compared(inputs: ReportInputs) -> list[Compared]:
    """Return, for each split with baselines, the fine-tuned models' row and a row for each baseline."""
    rows = []
    for split, name in SPLITS.items():
        told = branch(inputs.metrics, split, "baselines")
        if not told:
            continue
        path = (split, "classification")
        own = figures_of(branch(inputs.metrics, *path), branch(inputs.intervals, *path), CLASSIFICATION)
        shown = {key for leaf in told.values() for key in leaf}
        rows.append(Compared(f"{name}, fine-tuned", [figure for figure in own if figure.key in shown], []))
        for key, title in BASELINES.items():
            if key in told:
                spans = branch(inputs.intervals, split, "baselines", key)
                figures = figures_of(told[key], spans, CLASSIFICATION)
                rows.append(Compared(f"{name}, {title}", figures, [_gain(inputs, split, key, f.key) for f in figures]))
    return rows


def both_sides(inputs: ReportInputs) -> list[str]:
    """Return, for each split, what photo and text together tell beyond the better of them, and why not more."""
    return [_both_sides(SPLITS[row["split"]], row) for row in inputs.modality_gain.iter_rows(named=True)]


def _both_sides(split: str, row: dict[str, Any]) -> str:
    better = row["better"]
    other = "image" if better == "text" else "text"
    gain, low, high = (100 * row[name] for name in ("gain", "gain_low", "gain_high"))
    verdict = "more" if low > 0 else "less" if high < 0 else "not told apart"
    line = (
        f"{split}: probes of the frozen trunk get {percent(row['text'])} right from the text alone, "
        f"{percent(row['image'])} from the photo alone and {percent(row['both'])} from both: {gain:+.1f} points "
        f"({low:+.1f} to {high:+.1f}) against the {SIDES[better]}, {verdict}."
    )
    if not row["missed"]:
        return line
    return (
        f"{line} Of the {row['missed']:,} products that the {SIDES[better]} gets wrong, the {SIDES[other]} gets "
        f"{percent(row['found'] / row['missed'])} right, against {percent(row[other])} of all; choosing between the "
        f"two without fault would reach {percent(row[better] + row['found'] / row['products'])}."
    )


def slices(inputs: ReportInputs) -> list[Slice]:
    """Return the figures by what a product has, of the splits where products differ in that."""
    found = []
    for split, name in SPLITS.items():
        path = (split, "classification_by_modality")
        for key, title in MODALITIES.items():
            leaf = branch(inputs.metrics, *path, key)
            if leaf:
                figures = figures_of(leaf, branch(inputs.intervals, *path, key), CLASSIFICATION)
                found.append(Slice(f"{name}, {title}", leaf["num_products"], figures))
    return found


def reliability_figures(reliability: pl.DataFrame) -> dict[str, str]:
    """Return the reliability diagram of each split: what was right of what was told with so much confidence."""
    figures = {}
    for split, name in SPLITS.items():
        rows = reliability.filter(pl.col("split") == split).sort("bin")
        if rows.is_empty():
            continue
        parts = {kind: rows.filter(pl.col("calibrated") == kind) for kind in (True, False)}
        lines = [
            Line(_diagram_name(kind, parts), list(part.select("confidence", "accuracy").iter_rows()), order, not kind)
            for order, (kind, part) in enumerate(parts.items())
            if len(part)
        ]
        lines.append(Line("as sure as right", [(0.0, 0.0), (1.0, 1.0)], None))
        axes = Axes("probability of the told class", "share right", percent=True, x_ticks=TICKS)
        figures[f"reliability_{split}"] = line_chart(f"Calibration, {name.lower()}", lines, axes)
    return figures


def expected_error(reliability: pl.DataFrame) -> float:
    """Return the ECE that a table of reliability rows (confidence, accuracy, count) adds up to.

    >>> expected_error(pl.DataFrame({"confidence": [0.5, 0.9], "accuracy": [0.5, 0.8], "count": [1, 3]}))
    0.075
    """
    gap = (pl.col("confidence") - pl.col("accuracy")).abs()
    total = reliability.select((gap * pl.col("count")).sum() / pl.col("count").sum()).item()
    return round(float(total), 12)


def doubts(inputs: ReportInputs, num: int, photos: Thumbnails) -> list[Doubt]:
    """Return the products whose labels are doubted most, the surest suggestion first."""
    products = described(inputs.products)
    return [
        Doubt(
            Item(row["product_id"], products.get(row["product_id"], ("", None))[0], row["label"],
                 photos.of(row["product_id"])),
            row["suggested"], row["probability"], row["label_probability"],
        )
        for row in inputs.label_issues.head(num).iter_rows(named=True)
    ]  # fmt: skip


def skipped(inputs: ReportInputs) -> list[str]:
    """Return a line for each reason why baselines were left out."""
    reasons: dict[str, list[str]] = {}
    for name, reason in inputs.skipped.items():
        reasons.setdefault(reason, []).append(BASELINES[name])
    return [f"Left out: {', '.join(names)}. Reason: {reason}." for reason, names in reasons.items()]


def fused_with(inputs: ReportInputs) -> list[str]:
    """Return what the class figures owe to other experiments: a line where their predictions are fused in."""
    told = inputs.fusion.values()
    names = list(next(iter(told))["others"]) if told else []
    if not names:
        return []
    shares = {name: [fit["others"][name] for fit in told] for name in names}
    weights = " and ".join(f"{name} (weight {_between(shares[name])})" for name in names)
    return [
        f"Class predictions are not of these models alone: they are fused with those of {weights}. Every figure of "
        "classes is of the fusion; `vitrine compare` with the run before it tells what that gained."
    ]


def _between(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _gain(inputs: ReportInputs, split: str, baseline: str, figure: str) -> str:
    row = inputs.baselines.filter(
        (pl.col("split") == split) & (pl.col("baseline") == baseline) & (pl.col("figure") == figure)
    )
    if row.is_empty():
        return "–"
    gain, low, high = (100 * row[name][0] for name in ("gain", "gain_low", "gain_high"))
    return f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"


def _diagram_name(kind: bool, parts: dict[bool, pl.DataFrame]) -> str:
    before = "before calibration" if not kind else "after calibration" if len(parts[False]) else "told"
    return f"{before}: error {percent(expected_error(parts[kind]))}"


def share_of_labels(inputs: ReportInputs) -> tuple[int, int]:
    """Return how many labels are doubted, and how many out-of-fold products could be."""
    labelled: Sequence[int] = inputs.per_class.filter(pl.col("split") == "oof")["support"].to_list()
    return len(inputs.label_issues), sum(labelled)

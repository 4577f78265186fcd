"""The sections on classes: the gain over baselines, figures by modality, calibration, and labels that may be wrong.

Doubtful labels are shown with their photos, because a person who knows the products sees at once which one is wrong.
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
class ClassifierRow:
    """A classifier's figures in one split, and the gain of the trained models over it in each, with the interval."""

    title: str
    figures: list[Figure]
    gains: list[str]


@dataclass(frozen=True)
class Slice:
    """The figures of the products with the same modalities in one split."""

    title: str
    num_products: int
    figures: list[Figure]


@dataclass(frozen=True)
class Doubt:
    """A product whose label may be wrong: the class that the models suggest, and the probabilities of both."""

    item: Item
    suggested: str
    probability: float
    label_probability: float


def classifier_rows(inputs: ReportInputs) -> list[ClassifierRow]:
    """Return, for each split with baselines, a row for the trained models and one for each baseline."""
    rows = []
    for split, name in SPLITS.items():
        baselines = branch(inputs.metrics, split, "baselines")
        if not baselines:
            continue
        path = (split, "classification")
        own = figures_of(branch(inputs.metrics, *path), branch(inputs.intervals, *path), CLASSIFICATION)
        shown = {key for leaf in baselines.values() for key in leaf}
        rows.append(ClassifierRow(f"{name}, trained", [figure for figure in own if figure.key in shown], []))
        for key, title in BASELINES.items():
            if key in baselines:
                spans = branch(inputs.intervals, split, "baselines", key)
                figures = figures_of(baselines[key], spans, CLASSIFICATION)
                gains = [_gain(inputs, split, key, figure.key) for figure in figures]
                rows.append(ClassifierRow(f"{name}, {title}", figures, gains))
    return rows


def modality_gains(inputs: ReportInputs) -> list[str]:
    """Return a line for each split: the gain of photo and text together over the better one, and its upper limit."""
    return [_modality_gain(SPLITS[row["split"]], row) for row in inputs.evaluation.modality_gain.iter_rows(named=True)]


def _modality_gain(split: str, row: dict[str, Any]) -> str:
    better = row["better"]
    other = "image" if better == "text" else "text"
    gain, low, high = (100 * row[name] for name in ("gain", "gain_low", "gain_high"))
    verdict = "more" if low > 0 else "less" if high < 0 else "no significant difference"
    line = (
        f"{split}: probes of the frozen trunk classify {percent(row['text'])} correctly from the text alone, "
        f"{percent(row['image'])} from the photo alone and {percent(row['both'])} from both: {gain:+.1f} points "
        f"({low:+.1f} to {high:+.1f}) against the {SIDES[better]}, {verdict}."
    )
    if not row["missed"]:
        return line
    return (
        f"{line} Of the {row['missed']:,} products that the {SIDES[better]} gets wrong, the {SIDES[other]} gets "
        f"{percent(row['found'] / row['missed'])} right, against {percent(row[other])} of all. A perfect choice "
        f"between the two would reach {percent(row[better] + row['found'] / row['products'])}."
    )


def slices(inputs: ReportInputs) -> list[Slice]:
    """Return the figures by modality, for the splits whose products differ in that."""
    rows = []
    for split, name in SPLITS.items():
        path = (split, "classification_by_modality")
        for key, title in MODALITIES.items():
            leaf = branch(inputs.metrics, *path, key)
            if leaf:
                figures = figures_of(leaf, branch(inputs.intervals, *path, key), CLASSIFICATION)
                rows.append(Slice(f"{name}, {title}", leaf["num_products"], figures))
    return rows


def reliability_figures(reliability: pl.DataFrame) -> dict[str, str]:
    """Return the reliability diagram of each split: accuracy over confidence."""
    figures = {}
    for split, name in SPLITS.items():
        rows = reliability.filter(pl.col("split") == split).sort("bin")
        if rows.is_empty():
            continue
        parts = {calibrated: rows.filter(pl.col("calibrated") == calibrated) for calibrated in (True, False)}
        lines = [
            Line(_diagram_name(calibrated, parts), list(part.select("confidence", "accuracy").iter_rows()), order,
                 dashed=not calibrated)
            for order, (calibrated, part) in enumerate(parts.items())
            if len(part)
        ]  # fmt: skip
        lines.append(Line("perfect calibration", [(0.0, 0.0), (1.0, 1.0)], None))
        axes = Axes("probability of the predicted class", "accuracy", percent=True, x_ticks=TICKS)
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
    """Return the products whose labels are most likely wrong, the most confident suggestion first."""
    products = described(inputs.catalogue.products)
    return [
        Doubt(
            Item(row["product_id"], products.get(row["product_id"], ("", None))[0], row["label"],
                 photos.of(row["product_id"])),
            row["suggested"], row["probability"], row["label_probability"],
        )
        for row in inputs.evaluation.label_issues.head(num).iter_rows(named=True)
    ]  # fmt: skip


def skipped(inputs: ReportInputs) -> list[str]:
    """Return a line for each reason why baselines are missing."""
    reasons: dict[str, list[str]] = {}
    for name, reason in inputs.evaluation.skipped.items():
        reasons.setdefault(reason, []).append(BASELINES[name])
    return [f"Left out: {', '.join(names)}. Reason: {reason}." for reason, names in reasons.items()]


def share_of_labels(inputs: ReportInputs) -> tuple[int, int]:
    """Return the number of labels that may be wrong, and of all out-of-fold labels."""
    labelled: Sequence[int] = inputs.evaluation.per_class.filter(pl.col("split") == "oof")["support"].to_list()
    return len(inputs.evaluation.label_issues), sum(labelled)


def fused_with(inputs: ReportInputs) -> list[str]:
    """Return a line on the other experiments whose class predictions are fused in; none without them."""
    fits = inputs.ensemble.fusion.values()
    names = list(next(iter(fits))["others"]) if fits else []
    if not names:
        return []
    shares = {name: [fit["others"][name] for fit in fits] for name in names}
    weights = " and ".join(f"{name} (weight {_between(shares[name])})" for name in names)
    return [
        f"Class predictions are not of these models alone: they are fused with those of {weights}. Every class figure "
        "is of the fusion. `vitrine compare` with the run before it shows the gain."
    ]


def _between(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _gain(inputs: ReportInputs, split: str, baseline: str, figure: str) -> str:
    row = inputs.evaluation.baselines.filter(
        (pl.col("split") == split) & (pl.col("baseline") == baseline) & (pl.col("figure") == figure)
    )
    if row.is_empty():
        return "–"
    gain, low, high = (100 * row[name][0] for name in ("gain", "gain_low", "gain_high"))
    return f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"


def _diagram_name(calibrated: bool, parts: dict[bool, pl.DataFrame]) -> str:
    """Return the legend of one line; a run without calibration has rows of the kind True alone."""
    after = "after calibration" if len(parts[False]) else "uncalibrated"
    return f"{after if calibrated else 'before calibration'}: error {percent(expected_error(parts[calibrated]))}"

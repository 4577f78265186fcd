"""The tables that the report plots: Recall@K curve, confusion counts, figures of each class, reliability."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import replaced_folder, write_table
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.artifacts.schemas import CLASS_SCHEMA, CONFUSION_SCHEMA, CURVE_SCHEMA, RELIABILITY_SCHEMA
from pipeline_lib.artifacts.spreadsheets import formula_notes
from pipeline_lib.evaluation.label_issues import label_issues
from pipeline_lib.evaluation.summary import DIGITS, SPLITS, labelled
from pipeline_lib.metrics.calibration import reliability_rows
from pipeline_lib.metrics.classification import Labels, class_table, confusion_counts
from pipeline_lib.metrics.gallery_ranks import SUBSET
from pipeline_lib.metrics.ranking import ranks_of, recall_curve

CURVE_DEPTH = 100


def curve_table(ranks: pl.DataFrame) -> pl.DataFrame:
    """Return recall at every k for each split and direction of the ranks; subsets are too small for a curve.

    A curve ends at CURVE_DEPTH, or at the size of the largest gallery: a longer list has no more products.
    """
    frames = [pl.DataFrame(schema=CURVE_SCHEMA)]
    complete = ranks.filter(pl.col("direction") != SUBSET)
    for (split, direction), part in complete.group_by("split", "direction", maintain_order=True):
        largest = int(part["num_gallery"].to_numpy().max())
        cutoffs = range(1, min(CURVE_DEPTH, largest) + 1)
        curve = [round(value, DIGITS) for value in recall_curve(ranks_of(part), cutoffs)]
        rows = {"k": list(cutoffs), "recall": curve}
        frames.append(
            pl.DataFrame(rows).select(pl.lit(split).alias("split"), pl.lit(direction).alias("direction"), "k", "recall")
        )
    return pl.concat(frames)


def write_plot_tables(
    out: Path, ranks: pl.DataFrame, scores: pl.DataFrame, classes: Sequence[str], more: Mapping[str, pl.DataFrame]
) -> list[str]:
    """Write the tables of ranks and of class scores, and `more` tables, as NAME.csv.

    Returns notes about labels and ids that a spreadsheet would take for formulas.
    """
    issues = label_issues(scores, paths.ENSEMBLE / "probabilities.parquet", classes)
    tables = {"recall_curve": curve_table(ranks), "label_issues": issues} | dict(more)
    tables |= class_tables(scores, read_uncalibrated(paths.ENSEMBLE, scores), classes)
    for name, table in tables.items():
        write_table(table, out / f"{name}.csv")
    return formula_notes(issues, replaced_folder(out) / "label_issues.csv")


def read_uncalibrated(ensemble: Path, predictions: pl.DataFrame) -> pl.DataFrame:
    """Return the predictions before temperature scaling; no rows if no temperature was fitted."""
    path = ensemble / "uncalibrated.parquet"
    return read_table(path) if path.is_file() else predictions.clear()


def class_tables(
    predictions: pl.DataFrame, uncalibrated: pl.DataFrame, classes: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Return the class tables that the report draws, by name."""
    return {
        "confusion": confusion_table(predictions, classes),
        "per_class": per_class_table(predictions, classes),
        "reliability": reliability_table(predictions, uncalibrated, classes),
    }


def confusion_table(predictions: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return CONFUSION_SCHEMA rows: the pairs of true and predicted label that occur, in class order."""
    frames = [pl.DataFrame(schema=CONFUSION_SCHEMA)]
    for split, truth, predicted in _scored(predictions, classes):
        counts = confusion_counts(truth, predicted, len(classes)).tolist()
        rows = [(split, classes[true], classes[other], count) for true, other, count in counts]
        frames.append(pl.DataFrame(rows, schema=CONFUSION_SCHEMA, orient="row"))
    return pl.concat(frames)


def per_class_table(predictions: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return CLASS_SCHEMA rows: precision, recall, f1 and support of each class that occurs in a split."""
    frames = [pl.DataFrame(schema=CLASS_SCHEMA)]
    for split, truth, predicted in _scored(predictions, classes):
        table = class_table(truth, predicted, classes).with_columns(pl.col(pl.Float64).round(DIGITS))
        frames.append(table.select(pl.lit(split).alias("split"), pl.all()))
    return pl.concat(frames)


def reliability_table(predictions: pl.DataFrame, uncalibrated: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return RELIABILITY_SCHEMA rows: the bins of each split, before calibration (if any) and after."""
    rows = []
    for frame, calibrated in ((uncalibrated, False), (predictions, True)):
        for split in SPLITS:
            part = labelled(frame, classes, split)
            if len(part.truth):
                for number, confidence, accuracy, count in reliability_rows(part.scores):
                    figures = (round(confidence, DIGITS), round(accuracy, DIGITS), count)
                    rows.append((split, calibrated, number, *figures))
    return pl.DataFrame(rows, schema=RELIABILITY_SCHEMA, orient="row")


def _scored(predictions: pl.DataFrame, classes: Sequence[str]) -> Iterator[tuple[str, Labels, Labels]]:
    for split in SPLITS:
        part = labelled(predictions, classes, split)
        if len(part.truth):
            yield split, part.truth, part.scores.predicted

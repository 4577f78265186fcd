"""The curves of the report as SVG: learning curves of every fold, and Recall@K."""

from collections.abc import Sequence
from math import isfinite

import polars as pl

from pipeline_lib.report.chance import Chance
from pipeline_lib.report.headline import DIRECTIONS, SPLITS
from pipeline_lib.report.inputs import FoldRun
from pipeline_lib.report.svg import Axes, Line, line_chart

Chances = dict[tuple[str, str], Chance]
# Column of history.csv -> title and label of the axis; a figure is drawn if the history has the column.
HELD_OUT = {
    "MeanRecall": ("Mean recall, text → image, held-out fold", "mean recall"),
    "top1": ("Top-1, held-out fold", "top-1"),
}
K_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def learning_curves(folds: Sequence[FoldRun]) -> dict[str, str]:
    """Return the figures of the columns that the folds' histories have: the loss, and each held-out metric."""
    figures = {}
    losses = [line for order, fold in enumerate(folds) for line in _loss_lines(fold, order)]
    if losses:
        axes = Axes("epoch", "loss")
        figures["learning_loss"] = line_chart("Loss: dotted = training, solid = held-out fold", losses, axes)
    for column, (title, label) in HELD_OUT.items():
        lines = [
            Line(f"fold {fold.fold}", points, order, ringed=_best_epoch(fold))
            for order, fold in enumerate(folds)
            if (points := _points(fold.history, column))
        ]
        if lines:
            figures[f"learning_{column}"] = line_chart(title, lines, Axes("epoch", label, percent=True, zoomed=True))
    return figures


def recall_curves(curve: pl.DataFrame, chances: Chances) -> dict[str, str]:
    """Return one Recall@K figure for each direction, with test, out of fold and the chance level."""
    figures = {}
    for direction, title in DIRECTIONS.items():
        rows = curve.filter(pl.col("direction") == direction).sort("k")
        lines = [
            Line(name.lower(), list(group.select("k", "recall").iter_rows()), order)
            for order, (split, name) in enumerate(SPLITS.items())
            if len(group := rows.filter(pl.col("split") == split))
        ]
        if not lines:
            continue
        for split, name in SPLITS.items():
            chance = chances.get((split, direction))
            if chance is not None:
                ks = [int(k) for k in rows.filter(pl.col("split") == split)["k"].unique().sort()]
                points = [(float(k), chance.recall(k)) for k in ks]
                several = len({key for key in chances if key[1] == direction}) > 1
                lines.append(
                    Line(f"chance, {name.lower()}" if several else "chance", points, None, dashed=split == "oof")
                )
        axes = Axes("K", "recall at K", percent=True, zoomed=True, log_x=True, x_ticks=K_TICKS)
        figures[f"recall_{direction}"] = line_chart(f"Recall@K, {title}", lines, axes)
    return figures


def _loss_lines(fold: FoldRun, order: int) -> list[Line]:
    lines = []
    if held_out := _points(fold.history, "val_loss"):
        lines.append(Line(f"fold {fold.fold}", held_out, order, ringed=_best_epoch(fold)))
    if training := _points(fold.history, "total"):
        name = f"fold {fold.fold}, training"
        lines.append(Line(name, training, order, dashed=True, in_legend=not held_out))
    return lines


def _points(history: pl.DataFrame, column: str) -> list[tuple[float, float]]:
    if column not in history.columns or "epoch" not in history.columns:
        return []
    rows = history.select(pl.col("epoch").cast(pl.Float64), pl.col(column).cast(pl.Float64)).drop_nulls()
    return [(x, y) for x, y in rows.iter_rows() if isfinite(y)]


def _best_epoch(fold: FoldRun) -> float | None:
    best = fold.best.get("epoch")
    return None if best is None else float(best)

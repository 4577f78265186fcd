"""The figures of the report as SVG: learning curves of every fold, Recall@K, and the confusion matrix."""

from collections.abc import Sequence
from math import isfinite

import polars as pl

from pipeline_lib.report.chance import Chance
from pipeline_lib.report.inputs import FoldRun
from pipeline_lib.report.svg import Axes, Line, line_chart, plain, svg, text_width

Chances = dict[tuple[str, str], Chance]
SPLITS = {"test": "test", "oof": "out of fold"}
DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
# Column of history.csv -> title; a figure is drawn if the history has the column.
HELD_OUT = {"MeanRecall": "MeanRecall, held-out fold", "top1": "Top-1, held-out fold"}
K_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MATRIX_SIDE = 520
MAX_NAMED = 40
MAX_COUNTED = 25
LONGEST_NAME = 18


def learning_curves(folds: Sequence[FoldRun]) -> dict[str, str]:
    """Return the figures of the columns that the folds' histories have: the loss, and each held-out metric."""
    figures = {}
    losses = [line for order, fold in enumerate(folds) for line in _loss_lines(fold, order)]
    if losses:
        axes = Axes("epoch", "loss")
        figures["learning_loss"] = line_chart("Loss: dotted = training, solid = held-out fold", losses, axes)
    for column, title in HELD_OUT.items():
        lines = [
            Line(f"fold {fold.fold}", points, order, ringed=_best_epoch(fold))
            for order, fold in enumerate(folds)
            if (points := _points(fold.history, column))
        ]
        if lines:
            figures[f"learning_{column}"] = line_chart(title, lines, Axes("epoch", column, percent=True))
    return figures


def recall_curves(curve: pl.DataFrame, chances: Chances) -> dict[str, str]:
    """Return one Recall@K figure for each direction, with test, out of fold and the chance level."""
    figures = {}
    for direction, title in DIRECTIONS.items():
        rows = curve.filter(pl.col("direction") == direction).sort("k")
        lines = [
            Line(name, list(group.select("k", "recall").iter_rows()), order)
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
                lines.append(Line(f"chance, {name}" if several else "chance", points, None, dashed=split == "oof"))
        axes = Axes("K", "recall at K", percent=True, log_x=True, x_ticks=K_TICKS)
        figures[f"recall_{direction}"] = line_chart(f"Recall@K, {title}", lines, axes)
    return figures


def confusion_matrix(confusion: pl.DataFrame, labels: Sequence[str], title: str) -> str:
    """Return the matrix as SVG: rows are true classes, columns predicted ones, opacity is the share of the row."""
    position = {label: number for number, label in enumerate(labels)}
    named = len(labels) <= MAX_NAMED
    shown = [_short(label) for label in labels] if named else []
    margin = 40 + max((text_width(label) for label in shown), default=0.0)
    cell = min(44.0, MATRIX_SIDE / max(len(labels), 1))
    side = cell * len(labels)
    totals = dict(confusion.group_by("truth").agg(pl.col("count").sum()).iter_rows())
    body = [f'<text class="chart-title" x="0" y="15">{plain(title)}</text>']
    body.append(f'<rect class="chart-frame" x="{margin:.1f}" y="{margin:.1f}" width="{side:.1f}" height="{side:.1f}"/>')
    for truth, predicted, count in confusion.filter(pl.col("count") > 0).sort("truth", "predicted").iter_rows():
        share = count / totals[truth]
        x, y = margin + position[predicted] * cell, margin + position[truth] * cell
        kind = "right" if truth == predicted else "wrong"
        tooltip = f"{plain(truth)} predicted as {plain(predicted)}: {count} of {totals[truth]}"
        body.append(
            f'<rect class="chart-{kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
            f' fill-opacity="{0.1 + 0.75 * share:.2f}"><title>{tooltip}</title></rect>'
        )
        if len(labels) <= MAX_COUNTED:
            body.append(f'<text class="chart-count" x="{x + cell / 2:.1f}" y="{y + cell / 2 + 3.5:.1f}">{count}</text>')
    body += [_name(label, number, cell, margin) for number, label in enumerate(shown)]
    body.append(f'<text class="chart-start" x="{margin:.1f}" y="{side + margin + 18:.1f}">predicted as →</text>')
    label = f"{title}: confusion matrix of {len(labels)} classes; the table of classes has the figures"
    return svg(margin + side + 0.6 * margin, margin + side + 28, label, body)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1] + "…"


def _name(label: str, position: int, cell: float, margin: float) -> str:
    middle, edge = margin + (position + 0.5) * cell, margin - 8
    turn = f'transform="rotate(-55 {middle:.1f} {edge:.1f})"'
    return (
        f'<text class="chart-end" x="{edge:.1f}" y="{middle + 4:.1f}">{plain(label)}</text>'
        f'<text class="chart-start" x="{middle:.1f}" y="{edge:.1f}" {turn}>{plain(label)}</text>'
    )


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

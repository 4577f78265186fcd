"""The tables of the report as plain rows: settings, epochs, classes, confused pairs, rejects, trainable layers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.report.headline import percent
from pipeline_lib.report.inputs import FoldRun, ReportInputs

Facts = list[tuple[str, str]]
Rows = list[dict[str, Any]]
MAX_REJECTS = 200
MAX_PAIRS = 15
# Column of history.csv -> heading and format, shown for the epoch whose weights were saved.
EPOCH_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "total": ("Training loss", "{:.3f}".format),
    "val_loss": ("Held-out loss", "{:.3f}".format),
    "MeanRecall": ("Mean recall, text → image", percent),
    "top1": ("Top-1", percent),
}
# Setting of training -> the value at which it is off. It is not shown then, nor are the settings that depend on it.
OFF: dict[str, Any] = {
    "lr_decay": 1.0,
    "ema_decay": 0.0,
    "init_from": paths.NO_START.as_posix(),
    "allow_seen": False,
    "mining": "none",
    "text_augment": "none",
    "mix": "none",
    "grad_checkpointing": {"image": False, "text": False},
}
DEPENDS_ON = {
    "unfreeze_lr_scale": "schedule",
    "init_heads": "init_from",
    "mining_share": "mining",
    "text_augment_rate": "text_augment",
    "mix_alpha": "mix",
}


@dataclass(frozen=True)
class EpochTable:
    """One row a fold: the epoch whose weights were saved, and its figures on the held-out fold."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class TrainableView:
    """The trainable report of `folds`, which is the same for all of them."""

    folds: list[int]
    towers: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    warnings: list[str]


def facts(inputs: ReportInputs, data_root: str, scales: Sequence[int]) -> Facts:
    """Return name and value of the settings of the run, the most important first."""
    folds = inputs.folds
    counts = inputs.catalogue.counts
    rows: Facts = [("Data", data_root)]
    rows += [(name.capitalize(), f"{counts[name]:,}") for name in ("products", "queries", "classes")]
    rows.append(("Folds trained", ", ".join(str(fold.fold) for fold in folds)))
    rows.append(("Prediction scales", ", ".join(f"{scale} px" for scale in scales)))
    # The page's head shows the facts before these.
    rows += [(f"{role.capitalize()} from column", names) for role, names in counts["columns"].items()]
    rows += [("Columns not read", ", ".join(counts["ignored_columns"]))] if counts["ignored_columns"] else []
    if folds:
        rows += _model_facts(folds[0].model.get("description", {}))
        rows += _training_facts(folds[0].run)
    return rows


def _model_facts(description: dict[str, Any]) -> Facts:
    image = description.get("image", {})
    named = (("Image tower", image.get("architecture")), ("Training size", image.get("size")))
    rows = [(name, f"{value} px" if name == "Training size" else str(value)) for name, value in named if value]
    if description.get("retrieval"):
        rows.append(("Embedding", f"{description['embedding_dim']} dimensions"))
    return rows


def _training_facts(run: dict[str, Any]) -> Facts:
    rows: Facts = []
    if losses := run.get("losses"):
        rows.append(("Losses", ", ".join(f"{name} × {weight:g}" for name, weight in losses.items())))
    rows += _settings(run.get("train", {}))
    if "stored_features" in run:
        kinds = ", ".join(f"{tower} ({kind})" for tower, kind in run["stored_features"].items())
        rows.append(("Read from stores", kinds or "nothing"))
    return rows


def _settings(train: dict[str, Any]) -> Facts:
    """Return the settings that are in effect: without nulls, empty lists, `follow`, and features that are off."""
    active = {key: value for key, value in train.items() if _is_set(value) and OFF.get(key) != value}
    rows: Facts = []
    for key, value in active.items():
        if key == "schedule":
            rows.append(("Schedule", "; ".join(_step_in_words(step) for step in value)))
        elif isinstance(value, dict):
            for tower, own in value.items():
                rules = own if isinstance(own, dict) else {key: own}
                rows += [(f"{_title(rule)}, {tower}", _setting(one)) for rule, one in rules.items() if _is_set(one)]
        elif DEPENDS_ON.get(key, key) in active:
            rows.append((_title(key), _setting(value)))
    return rows


def _is_set(value: Any) -> bool:
    return value is not None and value != "follow" and value not in ([], ())


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _step_in_words(step: dict[str, Any]) -> str:
    return f"{step['tower']}: {step['layers']} layer{'s' * (step['layers'] != 1)} from epoch {step['epoch']}"


def epoch_table(folds: Sequence[FoldRun]) -> EpochTable:
    """Return the best epoch of every fold whose model's card names it."""
    named = [fold for fold in folds if fold.best]
    columns = [column for column in EPOCH_COLUMNS if any(fold.best.get(column) is not None for fold in named)]
    rows = [
        [f"{fold.fold}", f"{fold.best['epoch']:g}", *(_written(fold.best.get(column), column) for column in columns)]
        for fold in named
    ]
    return EpochTable(["Fold", "Epoch", *(EPOCH_COLUMNS[column][0] for column in columns)], rows)


def _written(value: float | None, column: str) -> str:
    return "–" if value is None else EPOCH_COLUMNS[column][1](value)


def confused_pairs(confusion: pl.DataFrame) -> Rows:
    """Return the most frequent pairs of true and wrongly predicted class, with the support of the true class."""
    totals = confusion.group_by("truth").agg(pl.col("count").sum().alias("support"))
    wrong = confusion.filter(pl.col("truth") != pl.col("predicted"), pl.col("count") > 0).join(totals, on="truth")
    return wrong.sort("count", "truth", "predicted", descending=[True, False, False]).head(MAX_PAIRS).to_dicts()


def majority_share(per_class: pl.DataFrame) -> tuple[str, float]:
    """Return the most frequent class of a split, and the top-1 accuracy of always predicting it."""
    largest = per_class.sort("support", "label", descending=[True, False]).row(0, named=True)
    return largest["label"], largest["support"] / per_class["support"].sum()


def reject_summary(rejects: pl.DataFrame) -> Rows:
    """Return the number of rejects of each reason and action, the most frequent first."""
    counted = rejects.group_by("action", "reason").len("count")
    return counted.sort("count", "action", "reason", descending=[True, False, False]).to_dicts()


def reject_rows(rejects: pl.DataFrame) -> Rows:
    """Return the first MAX_REJECTS rows of rejects.parquet."""
    return rejects.head(MAX_REJECTS).to_dicts()


def trainable_views(folds: Sequence[FoldRun]) -> list[TrainableView]:
    """Return each different trainable report once, with the folds that have it."""
    views: dict[str, TrainableView] = {}
    for fold in folds:
        shown = {name: value for name, value in fold.trainable.items() if name != "seen"}
        key = json.dumps(shown, sort_keys=True)
        towers = [_tower(row) for row in fold.trainable["towers"]]
        steps, warnings = list(fold.trainable["steps"]), list(fold.trainable["warnings"])
        view = views.setdefault(key, TrainableView([], towers, steps, warnings))
        view.folds.append(fold.fold)
    return list(views.values())


def _tower(row: dict[str, Any]) -> dict[str, Any]:
    opened = [group for group in row["groups"] if group["trainable"]]
    rates = sorted({group["lr"] for group in opened})
    return {
        **row,
        "num_open": len(opened),
        "share": row["trainable"] / row["total"] if row["total"] else 0.0,
        "rates": " – ".join(f"{rate:g}" for rate in dict.fromkeys((rates[0], rates[-1]))) if rates else "–",
    }

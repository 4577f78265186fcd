"""The tables of the report as plain rows: what was run, epochs, classes, confused pairs, rejects, the plan."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.report.inputs import FoldRun, ReportInputs

Facts = list[tuple[str, str]]
Rows = list[dict[str, Any]]
MAX_REJECTS = 200
MAX_PAIRS = 15
# Column of history.csv -> heading and format, shown for the epoch that was kept.
EPOCH_COLUMNS = {
    "total": ("Training loss", "{:.3f}"),
    "val_loss": ("Held-out loss", "{:.3f}"),
    "MeanRecall": ("Mean recall", "{:.1%}"),
    "top1": ("Top-1", "{:.1%}"),
}
# Setting of training -> the value at which it is off. It is not shown then, nor is what says how it is done.
OFF: dict[str, Any] = {
    "lr_decay": 1.0,
    "ema_decay": 0.0,
    "init_from": paths.NO_START.as_posix(),
    "mining": "none",
    "text_augment": "none",
    "mix": "none",
    "grad_checkpointing": {"image": False, "text": False},
}
MANNER = {
    "unfreeze_lr_scale": "schedule",
    "init_heads": "init_from",
    "mining_share": "mining",
    "text_augment_rate": "text_augment",
    "mix_alpha": "mix",
}


@dataclass(frozen=True)
class EpochTable:
    """One row a fold: the epoch that was kept, and what it scored on the held-out fold."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class PlanView:
    """What was trained: the plan of `folds`, which all had the same."""

    folds: list[int]
    towers: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    warnings: list[str]


def facts(inputs: ReportInputs, data_root: str, scales: Sequence[int]) -> Facts:
    """Return what was run, most telling first; only what params and the trained models say."""
    folds = inputs.folds
    found: Facts = [("Data", data_root)]
    found += [(name.capitalize(), f"{inputs.counts[name]:,}") for name in ("products", "queries", "classes")]
    found.append(("Folds trained", ", ".join(str(fold.fold) for fold in folds)))
    found.append(("Prediction scales", ", ".join(f"{scale} px" for scale in scales)))
    if folds:
        found += _model_facts(folds[0].model.get("description", {}))
        found += _training_facts(folds[0].run)
    return found


def _model_facts(description: dict[str, Any]) -> Facts:
    image = description.get("image", {})
    named = (("Image tower", image.get("architecture")), ("Training size", image.get("size")))
    found = [(name, f"{value} px" if name == "Training size" else str(value)) for name, value in named if value]
    if description.get("retrieval"):
        found.append(("Embedding", f"{description['embedding_dim']} dimensions"))
    return found


def _training_facts(run: dict[str, Any]) -> Facts:
    found: Facts = []
    if losses := run.get("losses"):
        found.append(("Losses", ", ".join(f"{name} × {weight:g}" for name, weight in losses.items())))
    found += _settings(run.get("train", {}))
    if "stored_features" in run:
        kinds = ", ".join(f"{tower} ({kind})" for tower, kind in run["stored_features"].items())
        found.append(("Read from stores", kinds or "nothing"))
    return found


def _settings(train: dict[str, Any]) -> Facts:
    """Return the settings that say something: no nulls, empty lists, rules that follow another, or what is off."""
    telling = {key: value for key, value in train.items() if _tells(value) and OFF.get(key) != value}
    found: Facts = []
    for key, value in telling.items():
        if key == "schedule":
            found.append(("Schedule", "; ".join(_step_in_words(step) for step in value)))
        elif isinstance(value, dict):
            for tower, told in value.items():
                rules = told if isinstance(told, dict) else {key: told}
                found += [(f"{_title(rule)}, {tower}", _setting(one)) for rule, one in rules.items() if _tells(one)]
        elif MANNER.get(key, key) in telling:
            found.append((_title(key), _setting(value)))
    return found


def _tells(value: Any) -> bool:
    return value is not None and value != "follow" and value not in ([], ())


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _step_in_words(step: dict[str, Any]) -> str:
    return f"{step['tower']}: {step['layers']} layer{'s' * (step['layers'] != 1)} from epoch {step['epoch']}"


def epoch_table(folds: Sequence[FoldRun]) -> EpochTable:
    """Return the kept epoch of every fold whose model names it."""
    kept = [fold for fold in folds if fold.best]
    columns = [column for column in EPOCH_COLUMNS if any(fold.best.get(column) is not None for fold in kept)]
    rows = [
        [f"{fold.fold}", f"{fold.best['epoch']:g}", *(_written(fold.best.get(column), column) for column in columns)]
        for fold in kept
    ]
    return EpochTable(["Fold", "Epoch", *(EPOCH_COLUMNS[column][0] for column in columns)], rows)


def _written(value: float | None, column: str) -> str:
    return "–" if value is None else EPOCH_COLUMNS[column][1].format(value).replace("%", " %")


def confused_pairs(confusion: pl.DataFrame) -> Rows:
    """Return the pairs of classes most often taken for each other, with the share of the true class."""
    totals = confusion.group_by("truth").agg(pl.col("count").sum().alias("support"))
    wrong = confusion.filter(pl.col("truth") != pl.col("predicted"), pl.col("count") > 0).join(totals, on="truth")
    return wrong.sort("count", "truth", "predicted", descending=[True, False, False]).head(MAX_PAIRS).to_dicts()


def majority_share(per_class: pl.DataFrame) -> tuple[str, float]:
    """Return the most frequent class of a split and the top-1 of always answering it."""
    largest = per_class.sort("support", "label", descending=[True, False]).row(0, named=True)
    return largest["label"], largest["support"] / per_class["support"].sum()


def reject_summary(rejects: pl.DataFrame) -> Rows:
    """Return how often each reason led to which action, the most frequent first."""
    counted = rejects.group_by("action", "reason").len("count")
    return counted.sort("count", "action", "reason", descending=[True, False, False]).to_dicts()


def reject_rows(rejects: pl.DataFrame) -> Rows:
    """Return the first MAX_REJECTS rejects as they stand in rejects.parquet."""
    return rejects.head(MAX_REJECTS).to_dicts()


def plan_views(folds: Sequence[FoldRun]) -> list[PlanView]:
    """Return each different plan once, with the folds that shared it."""
    views: dict[str, PlanView] = {}
    for fold in folds:
        key = json.dumps(fold.plan, sort_keys=True)
        towers = [_tower(row) for row in fold.plan["towers"]]
        view = views.setdefault(key, PlanView([], towers, list(fold.plan["steps"]), list(fold.plan["warnings"])))
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

"""The trainable report, printed and saved before the first step: what of each tower is trained, at which lr, and when.

It also names the source of each tower's weights, and warns of likely mistakes: frozen random weights, or a layer group
that has almost no parameters.
"""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from torch import nn

from pipeline_lib.models.adapters import frozen_adapters
from pipeline_lib.optim.freezing import UnfreezeEpochs
from pipeline_lib.optim.param_groups import group_lrs
from pipeline_lib.params.train import TrainParams
from pipeline_lib.towers.tower import Tower, TowerSource
from pipeline_lib.training.model_setup import ModelBundle

Report = dict[str, Any]
# Share of a tower's parameters below which a warning says that almost nothing is trained.
ALMOST_NONE = 0.001


def trainable_report(
    bundle: ModelBundle,
    train: TrainParams,
    warnings: Iterable[str] = (),
    inputs: Iterable[str] = (),
    seen: Iterable[str] = (),
) -> Report:
    """Return the report as JSON values: a row per tower and for the heads, the steps that open layers, the warnings.

    Each layer group, row and step has its share of the parameters of its tower, or of the heads.
    `warnings` are appended to the report's own; `inputs` are the messages on the towers' inputs, `seen` those on what
    the models that the run builds on were trained on.
    """
    rows, own_warnings = [], []
    for name, tower in bundle.towers.items():
        source, opened = bundle.initial.towers[name], bundle.unfreeze_epochs[name]
        row = _row(name, source.weights or "random", source.state_hash, _groups(tower, opened, train))
        ever_trained = _trained_parameters(tower, opened)
        own_warnings += [*source.notes, *_warnings(row, source, train), *_frozen_new(name, tower, source, ever_trained)]
        own_warnings += frozen_adapters(name, tower, ever_trained)
        rows.append(row)
    size = sum(value.numel() for _, value in bundle.model.head_parameters())
    heads = bundle.initial.heads
    rows.append(_row("head", str(heads) if heads else "random", None, [_group("head", size, 0, train.head_lr)]))
    warnings = [*own_warnings, *bundle.initial.warnings, *warnings]
    return {"towers": rows, "steps": _steps(rows), "warnings": warnings, "starts": list(inputs), "seen": list(seen)}


def _groups(tower: Tower, opened: UnfreezeEpochs, train: TrainParams) -> list[Report]:
    sizes = {key: value.numel() for key, value in tower.named_parameters()}
    return [
        _group(group.name, sum(sizes[key] for key in group.parameters), epoch, lr)
        for group, epoch, lr in zip(tower.layer_groups(), opened, group_lrs(opened, train), strict=True)
    ]


def _trained_parameters(tower: Tower, opened: UnfreezeEpochs) -> set[str]:
    """Return the names of a tower's parameters that some epoch trains."""
    groups = zip(tower.layer_groups(), opened, strict=True)
    return {key for group, epoch in groups if epoch is not None for key in group.parameters}


def _group(name: str, parameters: int, opens: int | None, lr: float) -> Report:
    return {"name": name, "parameters": parameters, "trainable": opens == 0, "opens": opens, "lr": lr}


def _steps(rows: list[Report]) -> list[Report]:
    """Return what opens after the first epoch: epoch, tower, and the layer groups and parameters that open."""
    by_step: dict[tuple[int, str], list[Report]] = {}
    for row in rows:
        for group in row["groups"]:
            if group["opens"]:
                by_step.setdefault((group["opens"], row["tower"]), []).append(group)
    return [
        {
            "epoch": epoch,
            "tower": tower,
            "groups": [group["name"] for group in groups],
            "parameters": sum(group["parameters"] for group in groups),
            "share": round(sum(group["share"] for group in groups), 6),
            "lr": max(group["lr"] for group in groups),
        }
        for (epoch, tower), groups in sorted(by_step.items())
    ]


def _row(name: str, source: str, weights: str | None, groups: list[Report]) -> Report:
    total = sum(group["parameters"] for group in groups)
    trainable = sum(group["parameters"] for group in groups if group["trainable"])
    return {
        "tower": name,
        "source": source,
        "weights_hash": weights,
        "total": total,
        "trainable": trainable,
        "share": _share(trainable, total),
        "groups": [{**group, "share": _share(group["parameters"], total)} for group in groups],
    }


def _share(part: int, total: int) -> float:
    return round(part / total, 6) if total else 0.0


def _warnings(row: Report, source: TowerSource, train: TrainParams) -> list[str]:
    """Return the warnings on one tower."""
    warnings = []
    frozen = sum(group["parameters"] for group in row["groups"] if group["opens"] is None)
    if source.state is None and frozen:
        warnings.append(
            f"{row['tower']}: {frozen:,} frozen parameters are random; "
            f"set model.{row['tower']}.pretrained = true or train.unfreeze_layers = all"
        )
    if row["trainable"] and row["share"] < ALMOST_NONE:
        warnings.append(
            f"{row['tower']}: the first epoch trains {row['trainable']:,} of {row['total']:,} parameters, almost "
            "nothing"
        )
    for step in _steps([row]):
        if step["share"] < ALMOST_NONE:
            warnings.append(
                f"{row['tower']}: the step at epoch {step['epoch']} opens {step['parameters']:,} of {row['total']:,} "
                "parameters, almost nothing"
            )
    own = getattr(train.towers, row["tower"])
    depth = train.unfreeze_layers if own.unfreeze_layers is None else own.unfreeze_layers
    count = len(row["groups"])
    if own.freeze_first is None and depth != "all" and depth > count:
        warnings.append(f"{row['tower']}: {depth} layer groups are to be trained, but there are {count}")
    if own.freeze_first is not None and own.freeze_first >= count - 1:
        warnings.append(f"{row['tower']}: freeze_first = {own.freeze_first} freezes all {count} layer groups")
    return warnings


def _frozen_new(name: str, tower: nn.Module, source: TowerSource, ever_trained: set[str]) -> list[str]:
    """Return a warning if a part without pretrained weights keeps its random initialization."""
    new = [(key, value) for key, value in tower.named_parameters() if source.new and key.startswith(source.new)]
    size = sum(value.numel() for key, value in new if key not in ever_trained)
    if not size or source.state is None:
        return []
    return [f"{name}: {size:,} frozen parameters are random: the new {new[0][0]}; open at least the last group"]


def report_table(report: Report) -> Table:
    """Return the report for a terminal: what the first epoch trains, then a row for each step that opens more."""
    table = Table(title="What is trained")
    for heading in ("tower", "weights", "hash", "groups open"):
        table.add_column(heading)
    for heading in ("trainable", "share", "total", "lr"):
        table.add_column(heading, justify="right")
    for row in report["towers"]:
        opened = [group for group in row["groups"] if group["trainable"]]
        span = f"{len(opened)} of {len(row['groups'])}" + (f", from {opened[0]['name']}" if opened else "")
        table.add_row(
            row["tower"],
            row["source"],
            row["weights_hash"] or "-",
            span,
            f"{row['trainable']:,}",
            f"{row['share']:.1%}",
            f"{row['total']:,}",
            _lr_range(opened),
        )
    for step in report["steps"]:
        table.add_row(
            step["tower"],
            f"from epoch {step['epoch']} on",
            "",
            f"+ {len(step['groups'])}, from {step['groups'][0]}",
            f"+ {step['parameters']:,}",
            f"+ {step['share']:.1%}",
            "",
            f"{step['lr']:g}",
        )
    return table


def _lr_range(groups: list[Report]) -> str:
    """Format the lr of open groups: one number, or the lowest and the highest with layer-wise decay."""
    rates = sorted({group["lr"] for group in groups})
    return " .. ".join(f"{rate:.3g}" for rate in (rates[:1] + rates[1:][-1:])) or "-"

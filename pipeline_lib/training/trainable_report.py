"""What a run will train, told before its first step: towers, the source of their weights, groups, counts and rates.

Of five logs read for this project, three trained something else than their authors believed: random weights under a
frozen tower, one "unlocked group" that was a final norm. The table says so in time.
"""

from pathlib import Path
from typing import Any

from rich.table import Table
from torch import nn

from pipeline_lib.models.adapters import frozen_adapters
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.towers import TowerSource, weights_hash
from pipeline_lib.optim.freezing import UnfreezeEpochs
from pipeline_lib.optim.param_groups import group_lrs
from pipeline_lib.params.train import TrainParams

Plan = dict[str, Any]
HARDLY_ANY = 0.001


def plan_of(
    model: ImageTextModel,
    sources: dict[str, TowerSource],
    train: TrainParams,
    opened: dict[str, UnfreezeEpochs],
    start: Path | None = None,
) -> Plan:
    """Return the plan as JSON values: a row for each tower and the head, the steps that open layers, the warnings."""
    rows, warnings = [], []
    for name, tower in model.towers().items():
        sizes = {key: value.numel() for key, value in tower.named_parameters()}
        groups = tower.layer_groups()
        listed = [
            _group(group.name, sum(sizes[key] for key in group.parameters), epoch, lr)
            for group, epoch, lr in zip(groups, opened[name], group_lrs(opened[name], train), strict=True)
        ]
        source = sources[name]
        row = _row(name, source.weights or "random", weights_hash(source.state), listed)
        ever = {
            key
            for group, epoch in zip(groups, opened[name], strict=True)
            if epoch is not None
            for key in group.parameters
        }
        warnings += [*source.notes, *_warnings(row, source, train), *_frozen_new(name, tower, source, ever)]
        warnings += frozen_adapters(name, tower, ever)
        rows.append(row)
    size = sum(value.numel() for _, value in model.head_parameters())
    rows.append(
        _row(
            "head",
            str(start) if start and train.init_heads else "random",
            None,
            [_group("head", size, 0, train.head_lr)],
        )
    )
    return {"towers": rows, "steps": _steps(rows), "warnings": warnings}


def _group(name: str, parameters: int, opens: int | None, lr: float) -> Plan:
    return {"name": name, "parameters": parameters, "trainable": opens == 0, "opens": opens, "lr": lr}


def _steps(rows: list[Plan]) -> list[Plan]:
    """Return what opens after the first epoch: epoch, tower, layer groups and parameters that open with it."""
    found: dict[tuple[int, str], list[Plan]] = {}
    for row in rows:
        for group in row["groups"]:
            if group["opens"]:
                found.setdefault((group["opens"], row["tower"]), []).append(group)
    return [
        {
            "epoch": epoch,
            "tower": tower,
            "groups": [group["name"] for group in groups],
            "parameters": sum(group["parameters"] for group in groups),
            "lr": max(group["lr"] for group in groups),
        }
        for (epoch, tower), groups in sorted(found.items())
    ]


def _row(name: str, source: str, weights: str | None, groups: list[Plan]) -> Plan:
    return {
        "tower": name,
        "source": source,
        "weights_hash": weights,
        "total": sum(group["parameters"] for group in groups),
        "trainable": sum(group["parameters"] for group in groups if group["trainable"]),
        "groups": groups,
    }


def _warnings(row: Plan, source: TowerSource, train: TrainParams) -> list[str]:
    found = []
    closed = sum(group["parameters"] for group in row["groups"] if group["opens"] is None)
    if source.state is None and closed:
        found.append(
            f"{row['tower']}: {closed:,} frozen parameters are random; "
            f"set model.{row['tower']}.pretrained = true or train.unfreeze_layers = all"
        )
    if 0 < row["trainable"] < HARDLY_ANY * row["total"]:
        found.append(
            f"{row['tower']}: the first epoch trains {row['trainable']:,} of {row['total']:,} parameters, almost "
            "nothing"
        )
    for step in _steps([row]):
        if step["parameters"] < HARDLY_ANY * row["total"]:
            found.append(
                f"{row['tower']}: the step at epoch {step['epoch']} opens {step['parameters']:,} of {row['total']:,} "
                "parameters, almost nothing"
            )
    own = getattr(train.towers, row["tower"])
    depth = train.unfreeze_layers if own.unfreeze_layers is None else own.unfreeze_layers
    count = len(row["groups"])
    if own.freeze_first is None and depth != "all" and depth > count:
        found.append(f"{row['tower']}: {depth} layer groups are to be trained, but there are {count}")
    if own.freeze_first is not None and own.freeze_first >= count - 1:
        found.append(f"{row['tower']}: freeze_first = {own.freeze_first} leaves nothing open of {count} groups")
    return found


def _frozen_new(name: str, tower: nn.Module, source: TowerSource, ever: set[str]) -> list[str]:
    """Return a warning where a part that no pretrained weights have is frozen as it was drawn."""
    new = [(key, value) for key, value in tower.named_parameters() if source.new and key.startswith(source.new)]
    size = sum(value.numel() for key, value in new if key not in ever)
    if not size or source.state is None:
        return []
    return [f"{name}: {size:,} frozen parameters are random: the new {new[0][0]}; open at least the last group"]


def plan_table(plan: Plan) -> Table:
    """Return the plan for a terminal: what is open at first, then a line for each step that opens more."""
    table = Table(title="What is trained")
    for heading in ("tower", "weights", "hash", "groups open", "trainable", "total", "lr"):
        table.add_column(heading, justify="right" if heading in ("trainable", "total", "lr") else "left")
    for row in plan["towers"]:
        opened = [group for group in row["groups"] if group["trainable"]]
        span = f"{len(opened)} of {len(row['groups'])}" + (f", from {opened[0]['name']}" if opened else "")
        table.add_row(
            row["tower"],
            row["source"],
            row["weights_hash"] or "-",
            span,
            f"{row['trainable']:,}",
            f"{row['total']:,}",
            _rates(opened),
        )
    for step in plan["steps"]:
        table.add_row(
            step["tower"],
            f"from epoch {step['epoch']} on",
            "",
            f"+ {len(step['groups'])}, from {step['groups'][0]}",
            f"+ {step['parameters']:,}",
            "",
            f"{step['lr']:g}",
        )
    return table


def _rates(groups: list[Plan]) -> str:
    """Write the lr of open groups: one number, or the lowest and the highest under layer-wise decay."""
    rates = sorted({group["lr"] for group in groups})
    return " .. ".join(f"{rate:.3g}" for rate in (rates[:1] + rates[1:][-1:])) or "-"

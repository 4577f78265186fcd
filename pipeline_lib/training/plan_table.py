"""What a run will train, told before its first step: towers, the source of their weights, groups, counts and rates.

Of five logs read for this project, three trained something else than their authors believed: random weights under a
frozen tower, one "unlocked group" that was a final norm. The table says so in time.
"""

from typing import Any

from rich.table import Table
from torch import nn

from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.towers import TowerSource, weights_hash
from pipeline_lib.optim.freezing import open_groups
from pipeline_lib.params.training import TrainParams

Plan = dict[str, Any]
HARDLY_ANY = 0.001


def plan_of(model: ImageTextModel, sources: dict[str, TowerSource], train: TrainParams) -> Plan:
    """Return the plan as JSON values: a row for each tower and the head, and the warnings."""
    rows, warnings = [], []
    for name, tower in model.towers().items():
        sizes = {key: value.numel() for key, value in tower.named_parameters()}
        groups = tower.layer_groups()
        opened = open_groups(groups, train.unfreeze_layers)
        listed = [
            _group(group.name, sum(sizes[key] for key in group.parameters), is_open, train.tower_lr)
            for group, is_open in zip(groups, opened, strict=True)
        ]
        source = sources[name]
        row = _row(name, source.weights or "random", weights_hash(source.state), listed)
        warnings += [*source.notes, *_warnings(row, source, train), *_frozen_new(name, tower, source)]
        rows.append(row)
    size = sum(value.numel() for _, value in model.head_parameters())
    rows.append(_row("head", "random", None, [_group("head", size, True, train.head_lr)]))
    return {"towers": rows, "warnings": warnings}


def _group(name: str, parameters: int, trainable: bool, lr: float) -> Plan:
    return {"name": name, "parameters": parameters, "trainable": trainable, "lr": lr if trainable else 0.0}


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
    if source.state is None and row["trainable"] < row["total"]:
        found.append(
            f"{row['tower']}: {row['total'] - row['trainable']:,} frozen parameters are random; "
            f"set model.{row['tower']}.pretrained = true or train.unfreeze_layers = all"
        )
    if 0 < row["trainable"] < HARDLY_ANY * row["total"]:
        found.append(
            f"{row['tower']}: train.unfreeze_layers = {train.unfreeze_layers} opens {row['trainable']:,} of "
            f"{row['total']:,} parameters, almost nothing"
        )
    count = len(row["groups"])
    if train.unfreeze_layers != "all" and train.unfreeze_layers > count:
        found.append(f"{row['tower']}: train.unfreeze_layers = {train.unfreeze_layers}, but there are {count} groups")
    return found


def _frozen_new(name: str, tower: nn.Module, source: TowerSource) -> list[str]:
    """Return a warning where a part that no pretrained weights have is frozen as it was drawn."""
    new = [(key, value) for key, value in tower.named_parameters() if source.new and key.startswith(source.new)]
    size = sum(value.numel() for _, value in new if not value.requires_grad)
    if not size or source.state is None:
        return []
    return [f"{name}: {size:,} frozen parameters are random: the new {new[0][0]}; open at least the last group"]


def plan_table(plan: Plan) -> Table:
    """Return the plan for a terminal."""
    table = Table(title="What is trained")
    for heading in ("tower", "weights", "hash", "groups open", "trainable", "total", "lr"):
        table.add_column(heading, justify="right" if heading in ("trainable", "total", "lr") else "left")
    for row in plan["towers"]:
        opened = [group for group in row["groups"] if group["trainable"]]
        span = f"{len(opened)} of {len(row['groups'])}" + (f", from {opened[0]['name']}" if opened else "")
        rate = f"{opened[0]['lr']:g}" if opened else "-"
        table.add_row(
            row["tower"],
            row["source"],
            row["weights_hash"] or "-",
            span,
            f"{row['trainable']:,}",
            f"{row['total']:,}",
            rate,
        )
    return table

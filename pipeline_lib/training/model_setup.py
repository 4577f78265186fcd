"""From params to the model of a run: first weights, heads, tokenizer, what opens when, losses, optimizer groups."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.teachers import DistillationTeachers
from pipeline_lib.models.multimodal import ImageTextModel, build_model, describe
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.models.towers import TowerSource
from pipeline_lib.models.warm_start import load_heads, start_folder, warm_sources
from pipeline_lib.optim.freezing import UnfreezeEpochs, set_epoch, unfreeze_epochs
from pipeline_lib.optim.param_groups import split_decay, tower_groups
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.activation_checkpointing import checkpoint_tower
from pipeline_lib.training.compiling import compile_towers
from pipeline_lib.training.cut_vocabulary import cut_vocabulary
from pipeline_lib.training.fold_data import FoldData
from pipeline_lib.training.momentum_encoder import build_momentum_encoder
from pipeline_lib.training.task import Task
from pipeline_lib.transforms.tokenize import TextTokenizer


@dataclass(frozen=True)
class RunConfig:
    """Sections of params.yaml that decide the result, and the machine's."""

    model: ModelParams
    losses: LossesParams
    train: TrainParams
    seed: int
    runtime: RuntimeParams
    device: str
    precision: str


@dataclass(frozen=True)
class ModelBundle:
    """A model before its first step: towers' sources, the epoch each layer group opens, a warm start's folder."""

    model: ImageTextModel
    sources: dict[str, TowerSource]
    tokenizer: TextTokenizer
    opened: dict[str, UnfreezeEpochs]
    start: Path | None


def build_bundle(settings: RunConfig, fold: int, data: FoldData, retrieval: bool) -> ModelBundle:
    """Build the model of one fold with its first weights, frozen as its first epoch is."""
    sources, start = _sources(settings, fold)
    tokenizer = TextTokenizer(sources["text"].description["tokenizer"])
    if settings.model.text.vocabulary == "cut":
        sources["text"], tokenizer = cut_vocabulary(sources["text"], tokenizer, data.training.texts)
    model = build_model(describe(settings.model, sources, retrieval, data.classes), sources)
    if start is not None and settings.train.init_heads:
        load_heads(model, start)
    for name, tower in model.towers().items():
        if getattr(settings.train.grad_checkpointing, name):
            checkpoint_tower(name, tower)
    opened = {
        name: unfreeze_epochs(len(tower.layer_groups()), name, settings.train) for name, tower in model.towers().items()
    }
    for name, tower in model.towers().items():
        set_epoch(tower, tower.layer_groups(), opened[name], 0)
    return ModelBundle(model, sources, tokenizer, opened, start)


def _sources(settings: RunConfig, fold: int) -> tuple[dict[str, TowerSource], Path | None]:
    """Return where the towers' first weights come from, and the folder of a warm start."""
    sources = resolve_towers(settings.model)
    start = start_folder(settings.train.init_from, fold)
    return (sources, None) if start is None else (warm_sources(sources, start), start)


def make_task(
    assembled: ModelBundle,
    settings: RunConfig,
    weights: dict[str, float],
    data: FoldData,
    lesson: DistillationTeachers | None = None,
) -> Task:
    """Return the model with its losses, on the device; those that learn from teachers need a lesson."""
    model = assembled.model.to(settings.device)
    momentum = settings.losses.memory_queue.momentum if "memory_queue" in weights else 0.0
    slow = build_momentum_encoder(model, momentum) if momentum else None
    if settings.runtime.compile:
        compile_towers(model)
    labels = data.training.label
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes)).tolist()
    losses = build_losses(settings.losses, list(weights), lesson, counts)
    trained = trained_names(model, assembled.opened)
    task = Task(model, losses, weights, settings.device, settings.precision, trained, slow)
    task.stateful().to(settings.device)
    return task


def trained_names(model: ImageTextModel, opened: dict[str, UnfreezeEpochs]) -> frozenset[str]:
    """Return the parameters of the model that are trained at some time: the heads' and all layers that ever open."""
    names = {name for name, _ in model.head_parameters()}
    for tower_name, tower in model.towers().items():
        for group, epoch in zip(tower.layer_groups(), opened[tower_name], strict=True):
            if epoch is not None:
                names |= {f"{tower_name}.{key}" for key in group.parameters}
    return frozenset(names)


def optimizer_groups(task: Task, train: TrainParams, opened: dict[str, UnfreezeEpochs]) -> list[dict[str, Any]]:
    """Return AdamW groups of all that a run ever trains: towers, heads, losses."""
    groups = []
    for name, tower in task.model.towers().items():
        groups += tower_groups(tower, tower.layer_groups(), opened[name], train, name)
    heads = [(name, value) for name, value in task.model.head_parameters() if value.requires_grad]
    groups += split_decay(heads, train.head_lr, train.weight_decay, "head")
    return groups + split_decay(task.loss_parameters(), train.head_lr, 0.0, "losses")

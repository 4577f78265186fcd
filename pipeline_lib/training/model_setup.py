"""The model of a run before its first step: initial weights, heads, tokenizer, open layers, precision, losses."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.execution.device import resolve_precision
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.inference.warm_start import load_heads, warm_sources
from pipeline_lib.loading.stored_features import StoredFeatures
from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.teachers import DistillationTeachers
from pipeline_lib.models.base_weights import BaseWeights
from pipeline_lib.models.multimodal import ImageTextModel, build_model, describe
from pipeline_lib.optim.freezing import UnfreezeEpochs, set_epoch, unfreeze_epochs
from pipeline_lib.optim.param_groups import split_decay, tower_groups
from pipeline_lib.optim.weight_decay import undecayed_names
from pipeline_lib.params.heads import weights_of
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.train import TrainParams
from pipeline_lib.towers.joint_space import pair_warnings, settle_bias, settle_heads
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.towers.scales import check_scales
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.training.activation_checkpointing import checkpoint_tower
from pipeline_lib.training.compiling import compile_towers
from pipeline_lib.training.cut_vocabulary import cut_vocabulary
from pipeline_lib.training.ema import build_momentum_encoder
from pipeline_lib.training.fold_data import FoldData
from pipeline_lib.training.input_checks import check_batch_rows
from pipeline_lib.training.loggers import check_installed
from pipeline_lib.training.task import Task
from pipeline_lib.transforms.tokenize import TextTokenizer


@dataclass(frozen=True)
class RunConfig:
    """The sections of params.yaml that decide the result of a run, and the machine it runs on.

    `scales` are the image sizes at which the model will predict; one that it does not support stops the run.
    """

    model: ModelParams
    losses: LossesParams
    train: TrainParams
    runtime: RuntimeParams
    device: str
    processes: ProcessGroup = SINGLE_PROCESS
    scales: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError, before any work, if the library of runtime.logger is not installed."""
        check_installed(self.runtime.logger)


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a run starts from: those that `model` names, or those of a trained model in `folder`.

    `heads` is the folder if the heads start from it too. `unchanged` has the towers whose weights are those that
    `model` names; a phase that trained only heads leaves them so. `model` and `losses` are the params with the values
    that follow from these weights; `warnings` are lines for the trainable report. `base` are the weights that `model`
    names, whatever the run starts from.
    """

    towers: dict[str, TowerSource]
    folder: Path | None
    heads: Path | None
    unchanged: frozenset[str]
    model: ModelParams
    losses: LossesParams
    base: BaseWeights
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelBundle:
    """A model before its first step; `unfreeze_epochs` has, for each tower, the epoch that opens each layer group."""

    model: ImageTextModel
    initial: InitialWeights
    tokenizer: TextTokenizer
    unfreeze_epochs: dict[str, UnfreezeEpochs]
    precision: str


def build_bundle(config: RunConfig, start: Path | None, data: FoldData, retrieval: bool) -> ModelBundle:
    """Build the model of one fold with its initial weights, and freeze what its first epoch does not train."""
    initial = resolve_initial_weights(config, start)
    tokenizer = TextTokenizer(initial.towers["text"].description["tokenizer"])
    if config.model.text_vocabulary == "cut":
        text, tokenizer = cut_vocabulary(initial.towers["text"], tokenizer, data.training.texts)
        initial = replace(initial, towers={**initial.towers, "text": text})
    model = build_model(describe(initial.model, initial.towers, retrieval, data.classes), initial.towers)
    if initial.heads is not None:
        load_heads(model, initial.heads)
    rows = min(config.train.batch_size, len(data.training)) // config.processes.world_size
    if config.train.photo != "mean_pool":
        check_batch_rows(model, rows)
    for name, tower in model.towers().items():
        if getattr(config.train.grad_checkpointing, name):
            checkpoint_tower(name, tower)
    opened = {
        name: unfreeze_epochs(len(tower.layer_groups()), name, config.train) for name, tower in model.towers().items()
    }
    for name, tower in model.towers().items():
        set_epoch(tower, tower.layer_groups(), opened[name], 0)
    precision = resolve_precision(config.train.precision, config.device, model)
    return ModelBundle(model, initial, tokenizer, opened, precision)


def resolve_initial_weights(config: RunConfig, start: Path | None) -> InitialWeights:
    """Return the weights that a run starts from; `start` is the folder of a trained model, if any."""
    named = resolve_towers(config.model)
    check_scales(named["image"].description, config.scales)
    # A warm start keeps the joint space of the pair that `model` names.
    model = settle_heads(config.model, named)
    losses, warnings = settle_bias(config.losses, model, named), tuple(pair_warnings(model, named))
    base = BaseWeights(config.model, named)
    if start is None:
        return InitialWeights(named, None, None, frozenset(named), model, losses, base, warnings)
    towers = warm_sources(named, start)
    unchanged = {name for name in towers if towers[name].state_hash == named[name].state_hash}
    heads = start if config.train.init_heads else None
    return InitialWeights(towers, start, heads, frozenset(unchanged), model, losses, base, () if heads else warnings)


def make_task(
    config: RunConfig,
    bundle: ModelBundle,
    data: FoldData,
    stored: StoredFeatures,
    teachers: DistillationTeachers | None = None,
) -> Task:
    """Return the model with its losses, on the device; distillation losses need `teachers`."""
    model, weights = bundle.model.to(config.device), weights_of(config.losses)
    momentum = config.losses.memory_queue.momentum if "memory_queue" in weights else 0.0
    momentum_encoder = build_momentum_encoder(model, momentum) if momentum else None
    if config.runtime.compile:
        compile_towers(model)
    labels = data.training.label
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes)).tolist()
    task = Task(
        model=model,
        losses=build_losses(bundle.initial.losses, list(weights), teachers, counts),
        weights=weights,
        device=config.device,
        precision=bundle.precision,
        trained=trained_names(model, bundle.unfreeze_epochs),
        momentum_encoder=momentum_encoder,
        num_suffix_groups=stored.num_suffix_groups(),
    )
    task.stateful_losses().to(config.device)
    return task


def trained_names(model: ImageTextModel, opened: dict[str, UnfreezeEpochs]) -> frozenset[str]:
    """Return the names of the parameters that some epoch trains: the heads and all layers that ever open."""
    names = {name for name, _ in model.head_parameters()}
    for tower_name, tower in model.towers().items():
        for group, epoch in zip(tower.layer_groups(), opened[tower_name], strict=True):
            if epoch is not None:
                names |= {f"{tower_name}.{key}" for key in group.parameters}
    return frozenset(names)


def optimizer_groups(task: Task, train: TrainParams, opened: dict[str, UnfreezeEpochs]) -> list[dict[str, Any]]:
    """Return the AdamW groups of all parameters that a run ever trains: towers, heads and losses."""
    groups = []
    for name, tower in task.model.towers().items():
        groups += tower_groups(tower, tower.layer_groups(), opened[name], train, name)
    heads = [(name, value) for name, value in task.model.head_parameters() if value.requires_grad]
    groups += split_decay(heads, train.head_lr, train.weight_decay, "head", undecayed_names(task.model))
    undecayed = undecayed_names(task.stateful_losses())
    return groups + split_decay(task.loss_parameters(), train.head_lr, 0.0, "losses", undecayed)

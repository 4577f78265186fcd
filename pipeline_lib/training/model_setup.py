"""The model of a run before its first step: towers, heads, tokenizer, open layers, stored inputs, precision, losses."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pipeline_lib.execution.device import resolve_precision
from pipeline_lib.inference.warm_start import heads_of, load_heads
from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.teachers import DistillationTeachers
from pipeline_lib.models.adapters import describe_adapters
from pipeline_lib.models.multimodal import ImageTextModel, build_model, describe, is_heads_alone
from pipeline_lib.optim.freezing import UnfreezeEpochs, set_epoch, unfreeze_epochs
from pipeline_lib.optim.param_groups import split_decay, tower_groups
from pipeline_lib.optim.weight_decay import undecayed_names
from pipeline_lib.params.heads import weights_of
from pipeline_lib.params.train import TrainParams
from pipeline_lib.towers.kinds import build_image_tower, build_text_tower
from pipeline_lib.towers.on_meta import on_meta
from pipeline_lib.towers.tower import Description, ImageTower, TextTower, TowerSource
from pipeline_lib.towers.uninitialised import uninitialised
from pipeline_lib.training.activation_checkpointing import checkpoint_tower
from pipeline_lib.training.compiling import compile_towers
from pipeline_lib.training.cut_vocabulary import cut_vocabulary
from pipeline_lib.training.ema import build_momentum_encoder
from pipeline_lib.training.fold_data import FoldData, Inputs
from pipeline_lib.training.input_checks import check_batch_rows
from pipeline_lib.training.run_start import InitialWeights, RunConfig, resolve_initial_weights
from pipeline_lib.training.stored_inputs import NO_STORES, StoredInputs, find_stored_inputs
from pipeline_lib.training.task import Task
from pipeline_lib.transforms.tokenize import TextTokenizer

Towers = dict[str, ImageTower | TextTower]


@dataclass(frozen=True)
class ModelBundle:
    """A model before its first step; `unfreeze_epochs` has, for each tower, the epoch that opens each layer group.

    `towers` have these groups. They are those of the model, but for a run that reads the stored outputs of both: its
    model has the heads alone, and the towers are on the meta device.
    """

    model: ImageTextModel
    towers: Towers
    initial: InitialWeights
    tokenizer: TextTokenizer
    unfreeze_epochs: dict[str, UnfreezeEpochs]
    stored: StoredInputs
    precision: str

    def with_towers(self) -> ImageTextModel:
        """Return the model, with its towers even if it has the heads alone."""
        return _with_towers(self.model, self.initial.towers) if is_heads_alone(self.model) else self.model

    def model_epochs(self) -> dict[str, UnfreezeEpochs]:
        """Return `unfreeze_epochs` of the towers in the model; those of heads alone have no groups."""
        return {name: [] for name in self.towers} if is_heads_alone(self.model) else self.unfreeze_epochs


def build_bundle(config: RunConfig, inputs: Inputs, data: FoldData, retrieval: bool) -> ModelBundle:
    """Build the model of one fold with its initial weights, and freeze what its first epoch does not train."""
    initial = resolve_initial_weights(config, inputs.start)
    tokenizer = TextTokenizer(initial.towers["text"].description["tokenizer"])
    if config.model.text_vocabulary == "cut":
        text, tokenizer = cut_vocabulary(initial.towers["text"], tokenizer, data.training.texts)
        initial = replace(initial, towers={**initial.towers, "text": text})
    description = describe(initial.model, initial.towers, retrieval, data.classes)

    def find_stored(opened: dict[str, UnfreezeEpochs]) -> StoredInputs:
        return find_stored_inputs(config, inputs, initial, opened) if retrieval or data.classes else NO_STORES

    if _trains_no_tower(config):
        towers = _on_meta(description)
        opened = _unfreeze_epochs(towers, config.train)
        stored = find_stored(opened)
        model = _heads_on(towers, description)
        if not stored.are_outputs():
            model = _with_towers(model, initial.towers)
            towers = model.towers()
    else:
        model = build_model(description, initial.towers)
        towers = model.towers()
        opened = _unfreeze_epochs(towers, config.train)
        stored = find_stored(opened)
    if initial.heads is not None:
        load_heads(model, initial.heads)
    _prepare_towers(config, model, opened, len(data.training))
    others = towers.values() if is_heads_alone(model) else ()
    precision = resolve_precision(config.train.precision, config.device, model, *others)
    return ModelBundle(model, towers, initial, tokenizer, opened, stored, precision)


def _trains_no_tower(config: RunConfig) -> bool:
    """Return whether the towers stay as they are, and the heads alone are trained, by the settings."""
    is_plain = config.model.fusion != "early" and not describe_adapters(config.model)
    return is_plain and all(config.train.keeps_frozen(name) for name in ("image", "text"))


def _on_meta(description: Description) -> Towers:
    with on_meta():
        return {
            "image": build_image_tower(description["image"]),
            "text": build_text_tower(description["text"]),
        }


def _heads_on(towers: Towers, description: Description) -> ImageTextModel:
    """Return the heads on the outputs of towers that are not in the model.

    Their initial weights are the same whether the towers run or their outputs are stored.
    """
    return ImageTextModel(description, {name: tower.dim for name, tower in towers.items()})


def _with_towers(heads: ImageTextModel, sources: Mapping[str, TowerSource]) -> ImageTextModel:
    """Return a model with these heads and with towers; it draws no random numbers of the run."""
    complete = all(source.is_complete for source in sources.values())
    with torch.random.fork_rng(devices=[]), uninitialised() if complete else nullcontext():
        model = build_model(heads.description, dict(sources))
    own = heads_of(model, model.state_dict())
    with torch.no_grad():
        for name, value in heads.state_dict().items():
            own[name].copy_(value)
    return model


def _unfreeze_epochs(towers: Towers, train: TrainParams) -> dict[str, UnfreezeEpochs]:
    return {name: unfreeze_epochs(len(tower.layer_groups()), name, train) for name, tower in towers.items()}


def _prepare_towers(config: RunConfig, model: ImageTextModel, opened: dict[str, UnfreezeEpochs], count: int) -> None:
    """Checkpoint and freeze the layers of towers that run; ValueError if a batch has too few of `count` products."""
    rows = min(config.train.batch_size, count) // config.processes.world_size
    if config.train.photo != "mean_pool":
        check_batch_rows(model, rows)
    if is_heads_alone(model):
        return
    for name, tower in model.towers().items():
        if getattr(config.train.grad_checkpointing, name):
            checkpoint_tower(name, tower)
        set_epoch(tower, tower.layer_groups(), opened[name], 0)


def make_task(
    config: RunConfig, bundle: ModelBundle, data: FoldData, teachers: DistillationTeachers | None = None
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
        trained=trained_names(model, bundle.model_epochs()),
        momentum_encoder=momentum_encoder,
        num_suffix_groups=bundle.stored.held_out.num_suffix_groups(),
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

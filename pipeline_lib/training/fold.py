"""One fold from params to a saved model: assembles model, data, optimizer and loop, and writes what they made."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.device import settle_precision
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.losses.build import LOSS_HEADS, weights_of
from pipeline_lib.models.saved import save_model
from pipeline_lib.optim.param_groups import build_adamw
from pipeline_lib.training.compiling import named_compile_failures
from pipeline_lib.training.distillation import read_distillation
from pipeline_lib.training.ema import WeightEma
from pipeline_lib.training.fold_data import FoldData, Inputs, read_fold
from pipeline_lib.training.history import write_rows
from pipeline_lib.training.loaders import Loaders, build_loaders
from pipeline_lib.training.model_setup import ModelBundle, RunConfig, build_bundle, make_task, optimizer_groups
from pipeline_lib.training.samplers import SAMPLERS
from pipeline_lib.training.stored_inputs import find_stored_inputs
from pipeline_lib.training.task import Task
from pipeline_lib.training.trainable_report import plan_of, plan_table
from pipeline_lib.training.trainer import Trainer

# Columns of a log, which has no width of its own: at the usual 80 the table's names would be cut.
LOG_WIDTH = 132


def train_fold(
    settings: RunConfig,
    inputs: Inputs,
    fold: int,
    fingerprint: str,
    out: Path,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Train one fold and write model, card, tokenizer, plan table and history into `out`.

    With several processes all call this with the same arguments, and the first one shows and writes.
    """
    torch.manual_seed(settings.seed)
    weights = weights_of(settings.losses)
    needed = {LOSS_HEADS[name] for name in weights}
    if settings.train.mining != "none" and "retrieval" not in needed:
        raise ValueError(
            f"train.mining = {settings.train.mining!r} compares embeddings, but no loss that trains them is on; "
            "set train.mining = none, or give losses.info_nce, or another loss that compares images and texts, "
            "a weight above 0"
        )
    if settings.train.mix != "none" and needed != {"classification"}:
        raise ValueError(
            f"train.mix = {settings.train.mix!r} blends two products, which match neither's text nor image; set "
            "train.mix = none, or every weight but losses.cross_entropy's to 0"
        )
    data = read_fold(inputs, fold, "classification" in needed, settings.train.text == "random")
    _check_shares(settings, data, processes)
    made = build_bundle(settings, fold, data, "retrieval" in needed)
    settings = replace(settings, precision=settle_precision(settings.precision, made.model))
    starts = find_stored_inputs(settings, inputs, made.sources, made.opened, made.start is not None)
    teaching = read_distillation(settings.losses, inputs.teachers, fold, data, made.model.description)
    plan = plan_of(made.model, made.sources, settings.train, made.opened, made.start) | {"starts": starts.told}
    plan["warnings"] += teaching.warnings
    if processes.is_first:
        _show(plan, settings, fold, len(data.training), len(data.held_out))
    task = replace(
        make_task(made, settings, weights, data, teaching.lesson), num_suffix_groups=starts.stored.num_suffix_groups()
    )
    _check_mix(settings, starts.stored.image is not None, processes)
    feed = build_loaders(settings, inputs, data, task.model, made.tokenizer, starts.stored, teaching, processes)
    compiling = named_compile_failures() if settings.runtime.compile else nullcontext()
    with CheckpointFolder(fingerprint, processes.is_first) as checkpoints, compiling:
        loop = _loop(task, settings, data, made, feed, checkpoints, processes)
        progression = loop.run(f"fold{fold}-{fingerprint}")
        checkpoints.finish()
    if not processes.is_first:
        return

    best = progression.rows[progression.best_epoch]
    run = {"fold": fold, "best_epoch": progression.best_epoch, "best": best, "seed": settings.seed}
    run |= {
        "train": settings.train.model_dump(),
        "losses": weights,
        "stored_features": starts.stored.kinds(),
        "precision": settings.precision,
    }
    save_model(out, made.model, run)
    made.tokenizer.save(out / "tokenizer")
    write_json(out / "plan.json", plan)
    write_rows(out / "history.csv", progression.rows)


def _check_shares(settings: RunConfig, data: FoldData, processes: ProcessGroup) -> None:
    rows = min(settings.train.batch_size, len(data.training))
    if rows < processes.world_size:
        raise ValueError(
            f"{processes.world_size} processes share out a batch of {rows} products (train.batch_size = "
            f"{settings.train.batch_size}, {len(data.training)} products to train on); start at most {rows}"
        )


def _check_mix(settings: RunConfig, stored: bool, processes: ProcessGroup) -> None:
    """Raise ValueError where the two that would be blended are not both there: not one picture each, or elsewhere."""
    mix = settings.train.mix
    if mix != "none" and settings.train.photo == "mean_pool" and not stored:
        raise ValueError(
            f"train.mix = {mix!r} blends two pictures, and train.photo = mean_pool has several of a product; set one "
            "of them to none, or first"
        )
    if mix != "none" and processes.world_size > 1:
        raise ValueError(
            f"train.mix = {mix!r} blends products of one process, these are {processes.world_size}; start one"
        )


def _show(plan: dict[str, Any], settings: RunConfig, fold: int, num_training: int, num_held_out: int) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    console.print(plan_table(plan))
    for warning in plan["warnings"]:
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
    for start in plan["starts"]:
        console.print(start, highlight=False, soft_wrap=True)
    console.print(
        f"fold {fold}: {num_training} products to train on, {num_held_out} held out, on {settings.device} "
        f"in {settings.precision}",
        highlight=False,
    )


def _loop(
    task: Task,
    settings: RunConfig,
    data: FoldData,
    made: ModelBundle,
    feed: Loaders,
    checkpoints: CheckpointFolder,
    processes: ProcessGroup,
) -> Trainer:
    train = settings.train
    groups = optimizer_groups(task, train, made.opened)
    trained = [value for group in groups for value in group["params"]]
    return Trainer(
        task=task,
        optimizer=build_adamw(groups),
        accelerator=Accelerator(cpu=settings.device == "cpu"),
        batches=feed.training,
        orders=SAMPLERS[train.mining](data.training, train, settings.seed, settings.device),
        params=train,
        seed=settings.seed,
        workers=feed.workers,
        log_every=settings.runtime.log_every,
        checkpoints=checkpoints,
        measure=lambda: feed.validator.measure(task),
        unfreeze_epochs=made.opened,
        average=WeightEma(trained, train.ema_decay) if train.ema_decay else None,
        processes=processes,
    )

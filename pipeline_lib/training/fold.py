"""One fold from params to a saved model: assembles model, data, optimizer and loop, and writes what they made."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from pipeline_lib.encoding.processes import ALONE, Processes
from pipeline_lib.losses.build import NEEDS, weights_of
from pipeline_lib.models.saved import save_model
from pipeline_lib.optim.param_groups import build_adamw
from pipeline_lib.provenance import write_json
from pipeline_lib.runtime import settle_precision
from pipeline_lib.training.assembly import Assembled, Settings, assemble, make_task, optimizer_groups
from pipeline_lib.training.averaging import MovingAverage
from pipeline_lib.training.checkpoint import CheckpointFolder
from pipeline_lib.training.compiling import named_compile_failures
from pipeline_lib.training.feeding import Feed, make_feed
from pipeline_lib.training.fold_data import FoldData, Inputs, read_fold
from pipeline_lib.training.history import write_rows
from pipeline_lib.training.loop import Loop
from pipeline_lib.training.orders import ORDERS
from pipeline_lib.training.plan_table import plan_of, plan_table
from pipeline_lib.training.starts import find_starts
from pipeline_lib.training.task import Task
from pipeline_lib.training.teachers import read_teaching

# Columns of a log, which has no width of its own: at the usual 80 the table's names would be cut.
LOG_WIDTH = 132


def train_fold(
    settings: Settings, inputs: Inputs, fold: int, fingerprint: str, out: Path, processes: Processes = ALONE
) -> None:
    """Train one fold and write model, card, tokenizer, plan table and history into `out`.

    With several processes all call this with the same arguments, and the first one shows and writes.
    """
    torch.manual_seed(settings.seed)
    weights = weights_of(settings.losses)
    needed = {NEEDS[name] for name in weights}
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
    made = assemble(settings, fold, data, "retrieval" in needed)
    settings = replace(settings, precision=settle_precision(settings.precision, made.model))
    starts = find_starts(settings, inputs, made.sources, made.opened, made.start is not None)
    made.model.groups_behind = starts.stored.groups_behind()
    teaching = read_teaching(settings.losses, inputs.teachers, fold, data, made.model.description)
    plan = plan_of(made.model, made.sources, settings.train, made.opened, made.start) | {"starts": starts.told}
    plan["warnings"] += teaching.warnings
    if processes.first:
        _show(plan, settings, fold, len(data.training), len(data.held_out))
    task = make_task(made, settings, weights, data, teaching.lesson)
    _check_mix(settings, starts.stored.image is not None, processes)
    feed = make_feed(settings, inputs, data, task.model, made.tokenizer, starts.stored, teaching, processes)
    compiling = named_compile_failures() if settings.runtime.compile else nullcontext()
    with CheckpointFolder(fingerprint, processes.first) as checkpoints, compiling:
        loop = _loop(task, settings, data, made, feed, checkpoints, processes)
        progression = loop.run(f"fold{fold}-{fingerprint}")
        checkpoints.finish()
    if not processes.first:
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


def _check_shares(settings: Settings, data: FoldData, processes: Processes) -> None:
    rows = min(settings.train.batch_size, len(data.training))
    if rows < processes.world:
        raise ValueError(
            f"{processes.world} processes share out a batch of {rows} products (train.batch_size = "
            f"{settings.train.batch_size}, {len(data.training)} products to train on); start at most {rows}"
        )


def _check_mix(settings: Settings, stored: bool, processes: Processes) -> None:
    """Raise ValueError where the two that would be blended are not both there: not one picture each, or elsewhere."""
    mix = settings.train.mix
    if mix != "none" and settings.train.photo == "mean_pool" and not stored:
        raise ValueError(
            f"train.mix = {mix!r} blends two pictures, and train.photo = mean_pool has several of a product; set one "
            "of them to none, or first"
        )
    if mix != "none" and processes.world > 1:
        raise ValueError(f"train.mix = {mix!r} blends products of one process, these are {processes.world}; start one")


def _show(plan: dict[str, Any], settings: Settings, fold: int, num_training: int, num_held_out: int) -> None:
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
    settings: Settings,
    data: FoldData,
    made: Assembled,
    feed: Feed,
    checkpoints: CheckpointFolder,
    processes: Processes,
) -> Loop:
    train = settings.train
    groups = optimizer_groups(task, train, made.opened)
    trained = [value for group in groups for value in group["params"]]
    return Loop(
        task=task,
        optimizer=build_adamw(groups),
        accelerator=Accelerator(cpu=settings.device == "cpu"),
        batches=feed.training,
        orders=ORDERS[train.mining](data.training, train, settings.seed, settings.device),
        params=train,
        seed=settings.seed,
        workers=feed.workers,
        log_every=settings.runtime.log_every,
        checkpoints=checkpoints,
        measure=lambda: feed.validator.measure(task),
        openings=made.opened,
        average=MovingAverage(trained, train.ema_decay) if train.ema_decay else None,
        processes=processes,
    )

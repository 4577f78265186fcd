"""One fold from params to a saved model: assembles model, data, optimizer and loop, and writes what they made."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from pipeline_lib.features.batches import PhotoViews, ProductBatches, StoredFeatures
from pipeline_lib.features.encode import Array, Engine, encode_texts
from pipeline_lib.features.products import text_key
from pipeline_lib.losses.build import NEEDS, weights_of
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import save_model
from pipeline_lib.optim.param_groups import build_adamw
from pipeline_lib.params.training import TrainParams
from pipeline_lib.provenance import write_json
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.training.assembly import Assembled, Settings, assemble, make_task, optimizer_groups, stored_features
from pipeline_lib.training.averaging import MovingAverage
from pipeline_lib.training.checkpoint import CheckpointFolder
from pipeline_lib.training.fold_data import FoldData, Inputs, read_fold
from pipeline_lib.training.history import write_rows
from pipeline_lib.training.loop import Loop
from pipeline_lib.training.orders import ORDERS
from pipeline_lib.training.plan_table import plan_of, plan_table
from pipeline_lib.training.processes import ALONE, Processes
from pipeline_lib.training.task import Task
from pipeline_lib.training.validation import Validator
from pipeline_lib.transforms.tokenize import TextTokenizer

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
    plan = plan_of(made.model, made.sources, settings.train, made.opened, made.start)
    if processes.first:
        _show(plan, settings, fold, len(data.training), len(data.held_out))
    task = make_task(made, settings, weights, data)
    stored = stored_features(settings, inputs, made.sources, made.opened, made.start is not None)
    _check_mix(settings, stored is not None, processes)
    with CheckpointFolder(fingerprint, processes.first) as checkpoints:
        loop = _loop(task, settings, inputs, data, made, stored, checkpoints, processes)
        progression = loop.run(f"fold{fold}-{fingerprint}")
        checkpoints.finish()
    if not processes.first:
        return

    best = progression.rows[progression.best_epoch]
    run = {"fold": fold, "best_epoch": progression.best_epoch, "best": best, "seed": settings.seed}
    run |= {
        "train": settings.train.model_dump(),
        "losses": weights,
        "stored_features": stored is not None,
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
    console.print(
        f"fold {fold}: {num_training} products to train on, {num_held_out} held out, on {settings.device} "
        f"in {settings.precision}",
        highlight=False,
    )


def _loop(
    task: Task,
    settings: Settings,
    inputs: Inputs,
    data: FoldData,
    made: Assembled,
    stored: StoredFeatures | None,
    checkpoints: CheckpointFolder,
    processes: Processes,
) -> Loop:
    train, runtime, size, tokenizer = settings.train, settings.runtime, settings.model.image.size, made.tokenizer
    reader = ShardReader(Manifest(inputs.shards))
    max_tokens = settings.model.text.max_tokens
    seen = stored or PhotoViews(reader, size, train.augment, train.crop_scale)
    fixed = stored or PhotoViews(reader, size)
    workers = 0 if stored else runtime.workers
    engine = Engine(settings.device, runtime.batch_size, workers, settings.precision)
    validator = Validator(
        ProductBatches(data.held_out, fixed, tokenizer, max_tokens, measured_photo(train), settings.seed),
        data.held_out,
        data.queries,
        train.batch_size,
        workers,
        _text_embedder(task.model, tokenizer, stored, max_tokens, engine),
    )
    groups = optimizer_groups(task, train, made.opened)
    trained = [value for group in groups for value in group["params"]]
    return Loop(
        task=task,
        optimizer=build_adamw(groups),
        accelerator=Accelerator(cpu=settings.device == "cpu"),
        batches=ProductBatches(
            data.training,
            seen,
            tokenizer,
            max_tokens,
            train.photo,
            settings.seed,
            train.text_augment,
            train.text_augment_rate,
            processes.part,
            train.mix,
            train.mix_alpha,
        ),
        orders=ORDERS[train.mining](data.training, train, settings.seed, settings.device),
        params=train,
        seed=settings.seed,
        workers=processes.workers(workers),
        log_every=runtime.log_every,
        checkpoints=checkpoints,
        measure=lambda: validator.measure(task),
        openings=made.opened,
        average=MovingAverage(trained, train.ema_decay) if train.ema_decay else None,
        processes=processes,
    )


def measured_photo(train: TrainParams) -> str:
    """Return the photos a held-out product is measured by: all if it trains with all, else the first."""
    return "mean_pool" if train.photo == "mean_pool" else "first"


def _text_embedder(
    model: ImageTextModel, tokenizer: TextTokenizer, stored: StoredFeatures | None, max_tokens: int, engine: Engine
) -> Any:
    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        return model.embed_text(model.encode_text(ids, mask))

    def embed(texts: list[str]) -> Array:
        if stored is None:
            return encode_texts(encode, tokenizer, texts, max_tokens, engine)
        features = torch.from_numpy(stored.text.rows([text_key(text) for text in texts]))
        return engine.run(model.embed_text, features).cpu().numpy()

    return embed

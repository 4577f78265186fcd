"""One fold from params to a saved model: assembles model, data, optimizer and loop, and writes what they made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from pipeline_lib.features.batches import PhotoViews, ProductBatches, StoredFeatures
from pipeline_lib.features.encode import Array, Engine, encode_texts
from pipeline_lib.features.products import Products, as_arrays, class_names, read_products, text_key
from pipeline_lib.features.trunk import open_trunk, why_unstorable
from pipeline_lib.losses.build import NEEDS, build_losses, weights_of
from pipeline_lib.models.multimodal import ImageTextModel, build_model, describe
from pipeline_lib.models.saved import save_model
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.models.towers import TowerSource
from pipeline_lib.optim.freezing import unfreeze_last
from pipeline_lib.optim.param_groups import build_adamw, split_decay
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.training import LossesParams, TrainParams
from pipeline_lib.provenance import write_json
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.training.checkpoint import CheckpointFolder
from pipeline_lib.training.history import write_rows
from pipeline_lib.training.loop import Loop
from pipeline_lib.training.plan_table import plan_of, plan_table
from pipeline_lib.training.task import Task
from pipeline_lib.training.validation import HeldOutQueries, Validator, held_out_queries
from pipeline_lib.transforms.tokenize import TextTokenizer

# Columns of a log, which has no width of its own: at the usual 80 the table's names would be cut.
LOG_WIDTH = 132


@dataclass(frozen=True)
class Inputs:
    """Folders that a run reads."""

    catalogue: Path
    folds: Path
    shards: Path
    trunk: Path


@dataclass(frozen=True)
class Settings:
    """Sections of params.yaml that decide the result, and the machine's."""

    model: ModelParams
    losses: LossesParams
    train: TrainParams
    seed: int
    runtime: RuntimeParams
    device: str
    precision: str


@dataclass(frozen=True)
class FoldData:
    """What one fold trains on and is measured by."""

    training: Products
    held_out: Products
    queries: HeldOutQueries
    classes: list[str]


def read_fold(inputs: Inputs, fold: int, classify: bool) -> FoldData:
    """Read the products of a fold; ValueError if the fold has none, or a classifier has no classes to tell apart."""
    products = read_products(inputs.catalogue, inputs.folds, inputs.shards / "manifest.parquet")
    train_split = products.filter(pl.col("split") == "train")
    held_out = train_split.filter(pl.col("fold") == fold)
    training = train_split.filter((pl.col("fold") != fold) | pl.col("fold").is_null())
    for rows, what in ((held_out, "no product is held out"), (training, "no product is left to train on")):
        if rows.is_empty():
            raise ValueError(f"fold {fold}: {what}; folds made: {train_split['fold'].drop_nulls().unique().to_list()}")
    classes = class_names(products) if classify else []
    if classify and len(classes) < 2:
        raise ValueError(
            f"losses.cross_entropy needs labels of at least 2 classes, the catalogue has {len(classes)}; "
            "set losses.cross_entropy.weight = 0 or data.columns.label"
        )
    arrays = as_arrays(held_out, classes)
    queries = held_out_queries(
        pl.read_parquet(inputs.catalogue / "queries.parquet"),
        pl.read_parquet(inputs.catalogue / "relevance.parquet"),
        arrays.ids,
    )
    return FoldData(as_arrays(training, classes), arrays, queries, classes)


def train_fold(settings: Settings, inputs: Inputs, fold: int, fingerprint: str, out: Path) -> None:
    """Train one fold and write model, card, tokenizer, plan table and history into `out`."""
    torch.manual_seed(settings.seed)
    weights = weights_of(settings.losses)
    needed = {NEEDS[name] for name in weights}
    data = read_fold(inputs, fold, "classification" in needed)
    sources = resolve_towers(settings.model)
    description = describe(settings.model, sources, "retrieval" in needed, data.classes)
    model = build_model(description, sources)
    for tower in model.towers().values():
        unfreeze_last(tower, tower.layer_groups(), settings.train.unfreeze_layers)
    plan = plan_of(model, sources, settings.train)
    _show(plan, settings, fold, len(data.training), len(data.held_out))
    model.to(settings.device)

    tokenizer = TextTokenizer(description["text"]["tokenizer"])
    task = Task(model, build_losses(settings.losses, list(weights)), weights, settings.device, settings.precision)
    stored = _stored(settings, inputs, sources)
    with CheckpointFolder(fingerprint) as checkpoints:
        loop = _loop(task, settings, inputs, data, tokenizer, stored, checkpoints)
        progression = loop.run(f"fold{fold}-{fingerprint}")
        checkpoints.finish()

    best = progression.rows[progression.best_epoch]
    run = {"fold": fold, "best_epoch": progression.best_epoch, "best": best, "seed": settings.seed}
    run |= {
        "train": settings.train.model_dump(),
        "losses": weights,
        "stored_features": stored is not None,
        "precision": settings.precision,
    }
    save_model(out, model, run)
    tokenizer.save(out / "tokenizer")
    write_json(out / "plan.json", plan)
    write_rows(out / "history.csv", progression.rows)


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


def _stored(settings: Settings, inputs: Inputs, sources: dict[str, TowerSource]) -> StoredFeatures | None:
    """Open the trunk's features where they give the same result: frozen towers with known weights, one fixed view.

    What is not storable (early fusion, poolings with weights of their own) is never read from a store either.
    """
    fixed = settings.train.unfreeze_layers == 0 and settings.train.augment == "none"
    known = all(source.state is not None for source in sources.values()) and why_unstorable(sources) is None
    if not (settings.train.use_stored_features and fixed and known and inputs.trunk.is_dir()):
        return None
    return open_trunk(inputs.trunk, sources)


def _loop(
    task: Task,
    settings: Settings,
    inputs: Inputs,
    data: FoldData,
    tokenizer: TextTokenizer,
    stored: StoredFeatures | None,
    checkpoints: CheckpointFolder,
) -> Loop:
    train, runtime, size = settings.train, settings.runtime, settings.model.image.size
    reader = ShardReader(Manifest(inputs.shards))
    max_tokens = settings.model.text.max_tokens
    seen = stored or PhotoViews(reader, size, train.augment, train.crop_scale)
    fixed = stored or PhotoViews(reader, size)
    workers = 0 if stored else runtime.workers
    engine = Engine(settings.device, runtime.batch_size, workers, settings.precision)
    validator = Validator(
        ProductBatches(data.held_out, fixed, tokenizer, max_tokens, "first", settings.seed),
        data.held_out,
        data.queries,
        train.batch_size,
        workers,
        _text_embedder(task.model, tokenizer, stored, max_tokens, engine),
    )
    return Loop(
        task=task,
        optimizer=build_adamw(_optimizer_groups(task.model, train)),
        accelerator=Accelerator(cpu=settings.device == "cpu"),
        batches=ProductBatches(data.training, seen, tokenizer, max_tokens, train.photo, settings.seed),
        num_products=len(data.training),
        params=train,
        seed=settings.seed,
        workers=workers,
        log_every=runtime.log_every,
        checkpoints=checkpoints,
        measure=lambda: validator.measure(task),
    )


def _optimizer_groups(model: ImageTextModel, train: TrainParams) -> list[dict[str, Any]]:
    groups = []
    for name, tower in model.towers().items():
        groups += split_decay(list(tower.named_parameters()), train.tower_lr, train.weight_decay, name)
    return groups + split_decay(model.head_parameters(), train.head_lr, train.weight_decay, "head")


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

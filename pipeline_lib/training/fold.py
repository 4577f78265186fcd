"""One fold, from params to a saved model: data, model, optimizer, loaders, trainer, outputs."""

import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pipeline_lib.artifacts.io import replaced_folder, write_json, write_table
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.device import supports_bf16
from pipeline_lib.execution.precision import float32_products
from pipeline_lib.loading.dataset import shuffled_batches
from pipeline_lib.loading.stored_features import StoredFeatures
from pipeline_lib.models.saved import save_model
from pipeline_lib.optim.param_groups import build_adamw
from pipeline_lib.params.heads import trained_heads, weights_of
from pipeline_lib.params.negatives import pair_losses
from pipeline_lib.splitting.seen import write_seen
from pipeline_lib.training.compiling import named_compile_failures
from pipeline_lib.training.distillation import read_distillation
from pipeline_lib.training.ema import WeightEma, ema_warnings
from pipeline_lib.training.fold_data import FoldData, Inputs, read_fold
from pipeline_lib.training.history import write_rows
from pipeline_lib.training.input_checks import check_held_out_labels, check_pairs, check_texts_differ
from pipeline_lib.training.loaders import build_loaders
from pipeline_lib.training.model_setup import ModelBundle, build_bundle, make_task, optimizer_groups
from pipeline_lib.training.progress import TrainState
from pipeline_lib.training.run_start import RunConfig
from pipeline_lib.training.samplers import SAMPLERS, without_lone_row
from pipeline_lib.training.seen_models import SeenByRun, check_seen
from pipeline_lib.training.stored_inputs import untrained_layers
from pipeline_lib.training.trainable_report import Report, report_table, trainable_report
from pipeline_lib.training.trainer import Trainer
from pipeline_lib.transforms.text_lengths import cut_texts

# Width of the printed report if the output is not a terminal; at rich's 80 columns its names would be cut.
LOG_WIDTH = 144


def train_fold(config: RunConfig, inputs: Inputs, fold: int, fingerprint: str, out: Path) -> None:
    """Train one fold, and write model, card, tokenizer, trainable report and history into `out`.

    `fingerprint` names the run's checkpoints. All processes call this; the first one prints and writes.
    """
    train, processes = config.train, config.processes
    torch.manual_seed(config.train.seed)
    heads = trained_heads(config.losses, train)

    seen = check_seen(config, inputs, fold)
    data = read_fold(inputs, fold, "classification" in heads, train.text == "random")
    _check_data(config, data, fold)

    bundle = build_bundle(config, inputs, data, "retrieval" in heads)
    if not heads:
        _save_untrained(config, bundle, fold, seen, out)
        return
    _check_mix(config, bundle.stored.features)
    _check_texts(config, bundle, data)
    mean_pool, description = train.photo == "mean_pool", bundle.model.description
    distillation = read_distillation(config.losses, inputs, fold, data, description, mean_pool)
    warnings = [*seen.warnings, *distillation.warnings, *ema_warnings(train.ema_decay, _num_steps(config, data))]
    messages = [*bundle.stored.messages, *_cut_texts(config, bundle, data)]
    report = trainable_report(bundle, train, warnings, messages, seen.with_weights(bundle.initial))
    if processes.is_first:
        _print(report, f"fold {fold}: {_counts(data)}, on {config.device} in {bundle.precision}{_faster(config)}")
    task = make_task(config, bundle, data, distillation.teachers)

    groups = optimizer_groups(task, train, bundle.model_epochs())
    optimizer = build_adamw(groups)
    averaged = [value for group in groups for value in group["params"]]
    ema = WeightEma(averaged, train.ema_decay) if train.ema_decay else None

    loaders = build_loaders(config, inputs, data, bundle, distillation)
    sampler = SAMPLERS[train.mining](data.training, train, config.device)

    compiling = named_compile_failures() if config.runtime.compile else nullcontext()
    precision = float32_products(bundle.precision)
    with CheckpointFolder(fingerprint, processes.is_first, replaced_folder(out)) as checkpoints, compiling, precision:
        trainer = Trainer(
            config=config,
            task=task,
            optimizer=optimizer,
            sampler=sampler,
            loaders=loaders,
            checkpoints=checkpoints,
            unfreeze_epochs=bundle.model_epochs(),
            ema=ema,
        )
        state = trainer.run(f"fold{fold}-{fingerprint}")
        checkpoints.finish()

    if processes.is_first:
        card = _run_card(config, bundle, fold, state)
        save_model(out, bundle.model, card | {"seen": write_seen(out, seen.seen)}, bundle.initial.base)
        bundle.tokenizer.save(out / "tokenizer")
        write_json(out / "trainable.json", report)
        write_rows(out / "history.csv", state.rows)
        if (mined := sampler.mined_set()) is not None:
            write_table(mined, out / "mined.parquet")


def _save_untrained(config: RunConfig, bundle: ModelBundle, fold: int, seen: SeenByRun, out: Path) -> None:
    """Save the towers as they are, without a head: the run of train.epochs = 0."""
    if not config.processes.is_first:
        return
    report = trainable_report(bundle, config.train, list(seen.warnings), [], seen.with_weights(bundle.initial))
    _print(report, f"fold {fold}: train.epochs = 0, so the towers are saved as they are")
    run = {"fold": fold, "best_epoch": 0, "best": {}, "seed": config.train.seed, "train": config.train.model_dump()}
    run |= {"model": config.model.model_dump(), "losses": {}, "stored_features": {}, "precision": bundle.precision}
    run["untrained_layers"] = untrained_layers(config, bundle.initial, bundle.unfreeze_epochs)
    save_model(out, bundle.model, run | {"seen": write_seen(out, seen.seen)}, bundle.initial.base)
    bundle.tokenizer.save(out / "tokenizer")
    write_json(out / "trainable.json", report)
    write_rows(out / "history.csv", [{"epoch": 0, "total": math.nan, "val_loss": math.nan}])


def _num_steps(config: RunConfig, data: FoldData) -> int:
    """Return the number of optimizer steps of a run that does not stop early."""
    train = config.train
    batches = shuffled_batches(len(data.training), train.batch_size, train.seed, 0)
    return train.epochs * math.ceil(len(without_lone_row(batches, train.accumulate)) / train.accumulate)


def _check_data(config: RunConfig, data: FoldData, fold: int) -> None:
    """Raise ValueError if processes outnumber the rows of a batch, or pairs or labels are lacking."""
    if config.train.epochs:
        check_held_out_labels(config.train.best_metric, weights_of(config.losses), data.held_out.label, fold)
        check_pairs(pair_losses(config.losses, queued=False), data.training, fold)
    rows, world_size = min(config.train.batch_size, len(data.training)), config.processes.world_size
    if rows < world_size:
        raise ValueError(
            f"{world_size} processes share a batch of {rows} products (train.batch_size = {config.train.batch_size}, "
            f"{len(data.training)} products to train on); start at most {rows}"
        )


def _check_mix(config: RunConfig, stored: StoredFeatures) -> None:
    """Raise ValueError if products cannot be blended: several images per product, or several processes."""
    mix, world_size = config.train.mix, config.processes.world_size
    if mix != "none" and config.train.photo == "mean_pool" and stored.image is None:
        raise ValueError(
            f"train.mix = {mix!r} blends two images, but train.photo = mean_pool uses several per product; set "
            "train.mix = none or train.photo = first"
        )
    if mix != "none" and world_size > 1:
        raise ValueError(
            f"train.mix = {mix!r} blends products of one process, but {world_size} were started; start one"
        )


def _check_texts(config: RunConfig, bundle: ModelBundle, data: FoldData) -> None:
    """Raise ValueError if a head reads texts, and the text tower gives all training texts the same features."""
    if not _reads_texts(config, bundle):
        return
    texts, pooling = data.training.texts, config.model.text.pooling
    tokenize = partial(bundle.tokenizer.encode_batch, max_tokens=bundle.model.description["text"]["max_tokens"])
    check_texts_differ(bundle.with_towers, tokenize, texts, pooling, bundle.stored.held_out.text)


def _cut_texts(config: RunConfig, bundle: ModelBundle, data: FoldData) -> list[str]:
    """Return a line if a head reads texts and many training texts are longer than model.text.max_tokens."""
    if not _reads_texts(config, bundle):
        return []
    return cut_texts(bundle.tokenizer.encode_batch, data.training.texts, bundle.model.description["text"]["max_tokens"])


def _reads_texts(config: RunConfig, bundle: ModelBundle) -> bool:
    return bundle.model.description["retrieval"] or config.model.classifier.inputs != "image"


def _faster(config: RunConfig) -> str:
    """Return a hint for a GPU on which `auto` is fp32, else nothing."""
    slow = config.train.precision == "auto" and config.device == "cuda" and not supports_bf16("cuda")
    return " (this GPU has no bf16; train.precision = fp16 is faster)" if slow else ""


def _counts(data: FoldData) -> str:
    return f"{len(data.training)} products to train on, {len(data.held_out)} held out"


def _print(report: Report, summary: str) -> None:
    """Print the trainable report with its warnings and messages to stderr, then the summary."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    console.print(report_table(report))
    for warning in report["warnings"]:
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
    for message in [*report["seen"], *report["starts"]]:
        console.print(message, highlight=False, soft_wrap=True)
    console.print(summary, highlight=False)


def _run_card(config: RunConfig, bundle: ModelBundle, fold: int, state: TrainState) -> dict[str, Any]:
    """Return the part of the model card that describes the run."""
    return {
        "fold": fold,
        "best_epoch": state.best_epoch,
        "best": {name: value if math.isfinite(value) else None for name, value in state.rows[state.best_epoch].items()},
        "seed": config.train.seed,
        "train": config.train.model_dump(),
        "model": config.model.model_dump(),
        "losses": weights_of(config.losses),
        "stored_features": bundle.stored.features.kinds(),
        "untrained_layers": untrained_layers(config, bundle.initial, bundle.unfreeze_epochs),
        "precision": bundle.precision,
    }

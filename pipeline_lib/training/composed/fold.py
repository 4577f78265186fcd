"""One composed model of one fold, from params to a saved model and the embeddings of its galleries."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline_lib.artifacts.io import replaced_folder
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.device import resolve_precision
from pipeline_lib.execution.precision import float32_products, loss_scaler
from pipeline_lib.losses.composed_build import composed_loss_weights
from pipeline_lib.models.composed.build import build_composed, resolve_composed
from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.composed.saved import save_composed
from pipeline_lib.optim.param_groups import build_adamw, split_decay
from pipeline_lib.optim.weight_decay import undecayed_names
from pipeline_lib.params.composed import ComposedKind, ComposedParams
from pipeline_lib.params.negatives import target_loss
from pipeline_lib.params.runtime import LoggerKind
from pipeline_lib.splitting.seen import read_hashed_products, seen_by_run, write_seen
from pipeline_lib.towers.tower import Identified
from pipeline_lib.training.composed.batches import BatchBuilder
from pipeline_lib.training.composed.embeddings import Embedder, GalleryRows, write_galleries
from pipeline_lib.training.composed.stored_inputs import InputReader, QueryTexts, TrunkStores, open_trunk
from pipeline_lib.training.composed.trainer import ComposedTrainer
from pipeline_lib.training.composed.triplets import ComposedData, Triplets, read_composed_data
from pipeline_lib.training.composed.validation import ComposedValidator
from pipeline_lib.training.history import write_rows
from pipeline_lib.training.loggers import check_installed
from pipeline_lib.training.progress import TrainState
from pipeline_lib.transforms.resizing import Resizing
from pipeline_lib.transforms.text_lengths import cut_texts
from pipeline_lib.transforms.tokenize import TextTokenizer

# How a line on texts that are cut names them and their setting.
SENTENCES = ("training sentences", "composed.q_former.max_tokens")


@dataclass(frozen=True)
class ComposedConfig:
    """The settings that decide the result of a run, and the machine it runs on.

    `sources` are the frozen towers, which do not run: what the stage features stored of them is read.
    """

    kind: ComposedKind
    params: ComposedParams
    sources: Mapping[str, Identified]
    device: str
    log_every: int = 10
    features_url: str | None = None
    logger: LoggerKind = "tensorboard"


@dataclass(frozen=True)
class ComposedFolders:
    """Folders that a run reads: the tables of the stages catalogue and folds, and the stores of the towers."""

    catalogue: Path
    folds: Path
    trunk: Path


@dataclass(frozen=True)
class Prepared:
    """A model before its first step, with the reader of its inputs and the rows of its galleries.

    `notes` are lines about its texts.
    """

    model: ComposedModel
    embedder: Embedder
    batches: BatchBuilder
    galleries: list[GalleryRows]
    weights: dict[str, float]
    notes: list[str]


def train_composed(config: ComposedConfig, folders: ComposedFolders, fold: int, fingerprint: str, out: Path) -> None:
    """Train one fold, and write model, card, tokenizer, history and the embeddings of held-out and test into `out`.

    `fingerprint` names the run's checkpoints.
    """
    params = config.params
    check_installed(config.logger)
    torch.manual_seed(params.seed)
    data = read_composed_data(folders.catalogue, folders.folds, fold)
    if name := target_loss(params, len(data.training)):
        raise ValueError(
            f"fold {fold}: composed.losses.{name} learns from the other targets of a batch, but there is 1 composed "
            "query to train on; add queries, or set composed.mining = hard and composed.epochs to 2 or more"
        )
    stores = open_trunk(folders.trunk, config.sources, config.features_url)
    ready = prepare(config, data, stores)
    _print(config, data, ready, fold)
    with (
        CheckpointFolder(fingerprint, True, replaced_folder(out)) as checkpoints,
        float32_products(ready.embedder.precision),
    ):
        state = make_trainer(config, data, ready, checkpoints).run(f"composed-{config.kind}-{fold}-{fingerprint}")
        checkpoints.finish()
        seen = write_seen(out, seen_by_run(read_hashed_products(folders.catalogue, folders.folds), fold))
        card = _run_card(config, fold, state, ready) | {"towers": stores.origin(), "seen": seen}
        identity = save_composed(out, ready.model, card)
        write_rows(out / "history.csv", state.rows)
        rows = list(zip(data.galleries, ready.galleries, strict=True))
        write_galleries(ready.embedder, rows, out, (identity, stores.origin()["preprocessing"]))


def prepare(config: ComposedConfig, data: ComposedData, stores: TrunkStores) -> Prepared:
    """Build the model with its initial weights, and look up all products and texts that the run reads."""
    params, device = config.params, config.device
    text_tokenizer = config.sources["text"].description["tokenizer"]
    source = resolve_composed(config.kind, params, stores.widths(), text_tokenizer)
    model = build_composed(source.description, source).to(device)
    options = source.description.get("q_former")
    tokenizer = None if options is None else TextTokenizer(options["tokenizer"])
    texts = [*data.training.texts, *(text for one in data.galleries for text in one.queries["text"])]
    longest = 0 if options is None else options["max_tokens"]
    words = QueryTexts.of(texts, tokenizer, longest)
    ids = list(dict.fromkeys([*data.training.product_ids, *(key for one in data.galleries for key in one.product_ids)]))
    reader = InputReader.of(stores, ids, words, model.needs, model.target_needs)
    row_of, text_of = ({key: row for row, key in enumerate(keys)} for keys in (ids, words.texts))
    precision = resolve_precision(params.precision, device, model)
    return Prepared(
        model=model,
        embedder=Embedder(model, reader, params.batch_size, device, precision),
        batches=_batches(data.training, reader, params, text_of),
        galleries=[GalleryRows.of(one, row_of, text_of) for one in data.galleries],
        weights=composed_loss_weights(params.losses, model.gives),
        notes=[] if tokenizer is None else cut_texts(tokenizer.encode_batch, data.training.texts, longest, *SENTENCES),
    )


def make_trainer(
    config: ComposedConfig, data: ComposedData, ready: Prepared, checkpoints: CheckpointFolder
) -> ComposedTrainer:
    """Return the trainer of a prepared model; ValueError if no composed query is held out."""
    held_out = data.held_out()
    if held_out is None or held_out.relevance.is_empty():
        raise ValueError(
            "no composed query with a target is in the held-out fold, so no epoch can be chosen; choose another fold "
            "in plan.folds, or lower split.num_folds"
        )
    params, model = config.params, ready.model
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    return ComposedTrainer(
        params=params,
        embedder=ready.embedder,
        batches=ready.batches,
        validator=ComposedValidator(
            held_out, ready.galleries[data.galleries.index(held_out)], params.protocol, checkpoints.folder
        ),
        optimizer=build_adamw(split_decay(named, params.lr, params.weight_decay, "composed", undecayed_names(model))),
        weights=ready.weights,
        scaler=loss_scaler(config.device, ready.embedder.precision),
        checkpoints=checkpoints,
        log_every=config.log_every,
        logger=config.logger,
    )


def _batches(training: Triplets, reader: InputReader, params: ComposedParams, text_of: dict[str, int]) -> BatchBuilder:
    # The products to train on are the reader's first ones.
    products = np.arange(len(training.product_ids))
    return BatchBuilder(training, reader, params, products, np.array([text_of[text] for text in training.texts]))


def _print(config: ComposedConfig, data: ComposedData, ready: Prepared, fold: int) -> None:
    """Print to stderr what is trained on what."""
    sizes = [f"{len(data.training):,} composed queries to train on"]
    sizes += [f"{one.queries.height:,} in {one.name} among {one.products.height:,} products" for one in data.galleries]
    if data.straddling:
        sizes.append(f"{data.straddling:,} left out, whose products are on both sides of a split")
    trained = sum(value.numel() for value in ready.model.parameters() if value.requires_grad)
    total = sum(value.numel() for value in ready.model.parameters())
    losses = " + ".join(f"{weight:g} {name}" for name, weight in ready.weights.items())
    model = f"{config.kind} ({trained:,} of {total:,} parameters trained; {losses})"
    where = f"on {config.device} in {ready.embedder.precision}"
    sys.stderr.writelines(f"{note}\n" for note in ready.notes)
    sys.stderr.write(f"fold {fold}: {', '.join(sizes)}, by {model} {where}\n")


def _run_card(config: ComposedConfig, fold: int, state: TrainState, ready: Prepared) -> dict[str, Any]:
    """Return the part of the model card that describes the run."""
    best, image = state.rows[state.best_epoch], config.sources["image"].description
    fusion: Any = getattr(ready.model, "fusion", None)
    return {
        "fold": fold,
        "best_epoch": state.best_epoch,
        "best": {name: value if math.isfinite(value) else None for name, value in best.items()},
        "seed": config.params.seed,
        "composed": config.params.model_dump(),
        "losses": ready.weights,
        "precision": ready.embedder.precision,
        "view": {"size": image["size"]} | Resizing.of(image).stated(),
        "fusion_alpha": None if fusion is None else fusion.alpha.detach().item(),
    }

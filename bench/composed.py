"""Images per second of composed training on stored tokens, against the same model with the image tower in the loop.

    python bench/composed.py [--quick] [--repetitions N]

Both sides train with the loop of the stage compose, batches of 64 queries, and end each epoch with a checkpoint; an
image is a reference or a target. The tower has random weights and runs without gradients on photos that are decoded
already, which favours that side. Its tokens are what the other side has stored as float16, so the losses of both sides
must agree. The Q-Former has the size of params.yaml, with and without gate; the Combiner reads pooled features. Each
run is a process of its own, for the peak of its resident memory from the first epoch on.
"""

import pipeline_lib.execution.threads  # noqa: F401, I001  (before torch, as in stages/compose.py)
import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch
from inputs import WORDS, write_project
from results import Ratio, interleaved, peak_bytes, report, reset_peak
from stored_epoch import write_towers
from torch import Tensor

from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.precision import loss_scaler
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.losses.composed_build import composed_loss_weights
from pipeline_lib.metrics.relevance import positions_from_pairs
from pipeline_lib.models.composed.build import build_composed, resolve_composed
from pipeline_lib.optim.param_groups import build_adamw, split_decay
from pipeline_lib.optim.weight_decay import undecayed_names
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers, untrained_image_tower
from pipeline_lib.towers.tower import ImageTower, TowerSource
from pipeline_lib.training.composed.batches import BatchBuilder
from pipeline_lib.training.composed.embeddings import Embedder
from pipeline_lib.training.composed.stored_inputs import InputReader, QueryTexts, Rows, open_trunk
from pipeline_lib.training.composed.trainer import ComposedTrainer
from pipeline_lib.training.composed.triplets import Triplets
from pipeline_lib.transforms.tokenize import TextTokenizer

REPO = Path(__file__).resolve().parent.parent
SIZE, BATCH, PIXELS = 224, 64, "pixels.npy"
# Name of a case -> kind, fusion.
CASES = {
    "Q-Former": ("q_former", "none"),
    "Q-Former gated": ("q_former", "gated"),
    "Combiner": ("combiner", "none"),
}
SIDES = ("stored", "loop")


@dataclass(frozen=True)
class TowerReader(InputReader):
    """Reads the images of a batch from the tower instead of its stores; `pixels` is uint8 (products, 3, SIZE, SIZE)."""

    tower: ImageTower = field(kw_only=True)
    pixels: Tensor = field(kw_only=True)

    def _images(self, products: Rows, needs: frozenset[str]) -> dict[str, Tensor]:
        with torch.no_grad():
            if "tokens" in needs:
                return {"tokens": self.tower.encode_tokens(self.pixels[products])[0].flatten(1, -2)}
            return {"image": self.tower.encode(self.pixels[products])}


class Clock:
    """Stands for the validation: notes the time at the end of each epoch."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def measure(self, embedder: Embedder) -> dict[str, float]:
        """Return the figure that selects an epoch, always the same."""
        self.ends.append(time.perf_counter())
        return {"R@1": 0.0}


def sources(root: Path) -> dict[str, TowerSource]:
    """Return the towers of the project: ViT-B/32, and a text tower, whose stored output the Combiner reads."""
    params = load_params(REPO / "params.yaml")
    towers = root / "towers"
    params["model"]["image"] |= {"kind": "timm", "name": str(towers / "image"), "size": SIZE, "args": {}}
    params["model"]["text"] |= {"kind": "hf", "name": str(towers / "text"), "pooling": "mean", "max_tokens": 16}
    params["model"]["text"]["config"] = {}
    return resolve_towers(parse_section(ModelParams, params))


def write(root: Path, count: int) -> None:
    """Write photos, towers and the stores of what the towers give for the decoded photos and the sentences."""
    inputs = write_project(root, count - 1, 1, 240, SIZE)
    write_towers(root / "towers", 12)
    reader = ShardReader(Manifest(inputs.shards))
    photos = pl.read_parquet(inputs.shards / "manifest.parquet", columns=["product_id", "photo"])
    texts = [sentence(number) for number in range(count)]
    found = ExtractionInputs(reader, photos.with_columns(text=pl.lit("")), texts)
    run = ExtractionRun(InferenceEngine("cpu", BATCH, 0, "fp32"), "float16")
    extract_trunk(sources(root), found, root / "trunk", run, TrunkOptions(tokens=True))
    # In the order of channels_last, as the loader gives a tower its photos.
    pixels = PhotoViews(reader, SIZE).load(np.arange(count), ((number,) for number in range(count)))
    np.save(root / PIXELS, pixels.permute(0, 2, 3, 1).numpy())


def sentence(number: int) -> str:
    """Return the sentence of a query."""
    return f"the same in {WORDS[number % len(WORDS)]} {WORDS[number // len(WORDS) % len(WORDS)]}"


def triplets(ids: list[str]) -> Triplets:
    """Return a query for each product: its target is the next product."""
    numbers = np.arange(len(ids))
    texts = list(dict.fromkeys(sentence(number) for number in numbers))
    target = (numbers + 1) % len(ids)
    targets = positions_from_pairs(numbers, target, len(ids))
    return Triplets(
        product_ids=ids,
        query_ids=ids,
        texts=texts,
        text=np.array([texts.index(sentence(number)) for number in numbers]),
        reference=numbers,
        targets=targets,
        answers=targets,
        subset=positions_from_pairs([], [], len(ids)),
    )


def train(root: Path, case: str, side: str, epochs: int) -> dict[str, object]:
    """Train in this process; return images/s without the first epoch, its losses, and the peak memory in MB."""
    os.chdir(root)  # for the learning curves
    kind, fusion = CASES[case]
    changes = {"fusion": fusion, "batch_size": BATCH, "epochs": epochs, "precision": "fp32", "mining": "none"}
    params = ComposedParams.model_validate(load_params(REPO / "params.yaml")["composed"] | changes)
    towers = sources(root)
    # As in the stage: a tower that does not run is known by its identity, and its weights are not held.
    stores = open_trunk(root / "trunk", {name: source.identity() for name, source in towers.items()})
    torch.manual_seed(0)
    found = resolve_composed(kind, params, stores.widths(), towers["text"].description["tokenizer"])
    model = build_composed(found.description, found)
    ids = pl.read_parquet(root / "catalogue/products.parquet")["product_id"].to_list()
    queries = triplets(ids)
    former = found.description.get("q_former")
    words = QueryTexts.of(queries.texts, former and TextTokenizer(former["tokenizer"]), params.q_former.max_tokens)
    reader = InputReader.of(stores, ids, words, model.needs, model.target_needs)
    if side == "loop":
        pixels = torch.from_numpy(np.load(root / PIXELS)).permute(0, 3, 1, 2)
        tower = untrained_image_tower(towers["image"], "cpu")
        reader = TowerReader(**vars(reader), tower=tower, pixels=pixels)
    clock, embedder = Clock(), Embedder(model, reader, BATCH, "cpu", "fp32")
    os.environ["VITRINE_CHECKPOINTS"] = str(root / f"checkpoints-{os.getpid()}")
    named = list(model.named_parameters())
    with CheckpointFolder("bench") as checkpoints:
        trainer = ComposedTrainer(
            params=params,
            embedder=embedder,
            batches=BatchBuilder(queries, reader, params, np.arange(len(ids)), np.arange(len(queries.texts))),
            validator=clock,
            optimizer=build_adamw(
                split_decay(named, params.lr, params.weight_decay, "composed", undecayed_names(model))
            ),
            weights=composed_loss_weights(params.losses, model.gives),
            scaler=loss_scaler("cpu", "fp32"),
            checkpoints=checkpoints,
            log_every=1000,
            logger="tensorboard",
        )
        reset_peak()
        state = trainer.run("bench")
    speeds = [2 * len(ids) / (after - before) for before, after in pairwise(clock.ends)]
    peak = peak_bytes() / 1e6
    return {"speeds": speeds, "losses": [row["total"] for row in state.rows], "peak": peak}


def in_process(root: Path, case: str, side: str, epochs: int) -> dict[str, object]:
    """Return what `train` returns in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--train", json.dumps([str(root), case, side, epochs])]
    run = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{case}, {side}: ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def measure(root: Path, epochs: dict[str, int], repetitions: int) -> dict[tuple[str, str], list[dict]]:
    """Run all cases on both sides in turn; return the results by case and side.

    Ends the program if the losses of both sides differ by more than the rounding of float16 explains.
    """
    keys = [(case, side) for case in CASES for side in SIDES]
    results: dict[tuple[str, str], list[dict]] = {key: [] for key in keys}

    def run(case: str, side: str) -> float:
        results[case, side].append(in_process(root, case, side, epochs[side]))
        print(case, side, results[case, side][-1], flush=True)
        return 0.0

    interleaved(repetitions, *(functools.partial(run, *key) for key in keys))
    for case in CASES:
        stored, loop = (results[case, side][0]["losses"][0] for side in SIDES)
        if abs(stored - loop) > 5e-3 * abs(loop):
            raise SystemExit(f"{case}: the loss of the first epoch is {stored} on stored tokens, {loop} with the tower")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        root, case, side, epochs = json.loads(options.train)
        print(json.dumps(train(Path(root), case, side, epochs)))
        return
    count, repetitions = (2 * BATCH, 1) if options.quick else (4 * BATCH, options.repetitions)
    epochs = {"stored": 3 if options.quick else 6, "loop": 2}
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        write(Path(folder), count)
        results = measure(Path(folder), epochs, repetitions)

    def values(case: str, side: str, key: str) -> list[float]:
        return [float(np.median(one[key])) for one in results[case, side]]

    ratios = [
        Ratio(f"{case}, {what}", unit, *(values(case, side, key) for side in SIDES), goal, lower_is_better=low)
        for case in CASES
        for what, unit, key, goal, low in (
            ("training on stored tokens, against the tower in the loop", "images/s", "speeds", ">= 8", False),
            ("peak memory", "MB", "peak", "-", True),
        )
    ]
    plain, gated = "Q-Former", "Q-Former gated"
    ratios += [
        Ratio(
            f"speed with the gate, against none; {where}",
            "images/s",
            values(gated, side, "speeds"),
            values(plain, side, "speeds"),
            goal,
        )
        for side, where, goal in (("stored", "stored tokens", "-"), ("loop", "the tower in the loop", "0.90 to 0.95"))
    ]
    about = (
        f"{count} products, ViT-B/32 with random weights at {SIZE} px (50 tokens of width 768), fp32, "
        f"batches of {BATCH}. "
        "Photos of the tower in the loop are decoded before the clock starts. Peak memory is that of the process while "
        "it trains, not while it builds the models."
    )  # fmt: skip
    report("Composed training", about, ratios, options.quick)


if __name__ == "__main__":
    main()

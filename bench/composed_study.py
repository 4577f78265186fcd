"""Models for composed queries on the sample `composed`, three seeds each: figures of test, paired by query.

    python bench/composed_study.py [--quick] [--root FOLDER] [--arms ROW ...] [--jobs N]

A clone of the repository makes the sample, its catalogue and the features of the towers once, through `dvc repro`. Each
model and seed then is one run of the stage compose, in a folder that shares them. The epoch is chosen in the held-out
fold, so test is untouched. A run that is finished in FOLDER is not repeated. Prints a table in Markdown.
"""

import argparse
import concurrent.futures
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from dvc.utils.hydra import apply_overrides
from numpy.typing import NDArray
from results import machine
from torch.nn import functional

from pipeline_lib.artifacts import paths
from pipeline_lib.evaluation.baselines.run import read_split_products
from pipeline_lib.evaluation.composed import ComposedModels, evaluate_composed
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS, composed_trees, recalls
from pipeline_lib.evaluation.composed_ranks import plan_composed_galleries, rank_composed
from pipeline_lib.evaluation.intervals import share_intervals
from pipeline_lib.evaluation.jackknife import clusters, jackknife, paired_differences
from pipeline_lib.loading.products import text_key
from pipeline_lib.metrics.composed import vector_scores
from pipeline_lib.metrics.weighted import Statistic
from pipeline_lib.models.composed.saved import load_composed
from pipeline_lib.stores.store import open_store

REPO = Path(__file__).resolve().parent.parent
SEEDS = (7, 8, 9)
TRUNK = paths.features_of("trunk")
SETTINGS = (
    "data.root=data/sample/composed", "data.queries=queries.csv", "plan.folds=[0]", "plan.scales=[64]",
    "plan.search=[]", "train.epochs=0", "features.trunk.at=tokens", "runtime.device=cpu",
)  # fmt: skip
SHARED = ("sample", "starts", "splits", "predictions", *(f"work/{path.name}" for path in (
    paths.CODE, paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES)))  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One row of the table: a kind of model, and its settings beside those of params.yaml."""

    kind: str
    settings: tuple[str, ...] = ()
    seeds: int = len(SEEDS)


# The towers of the sample are no pair. They have one width, so an untrained sum is defined; it has no random number.
ARMS = {
    "sum untrained": Arm("sum", ("composed.epochs=0", "composed.embedding_dim=64"), 1),
    "Combiner untrained": Arm("combiner", ("composed.epochs=0",)),
    "Q-Former untrained": Arm("q_former", ("composed.epochs=0",)),
}
TRAINED = {"sum": "sum", "Combiner": "combiner", "Q-Former": "q_former"}
# What is added to a trained model, each alone.
ADDED = {
    "gated": "composed.fusion=gated",
    "guided": "composed.fusion=guided",
    "patch loss": "composed.losses.patch_contrast=0.2",
    "mined": "composed.mining=hard",
}
# A Q-Former takes minutes where the others take seconds, so it has the gate alone.
VARIANTS = {"sum": tuple(ADDED), "Combiner": tuple(ADDED), "Q-Former": ("gated",)}
for name, kind in TRAINED.items():
    ARMS[f"{name} trained"] = Arm(kind)
    ARMS |= {f"{name} {added}": Arm(kind, (ADDED[added],)) for added in VARIANTS[name]}
IMAGE, TEXT = "image only, untrained", "text only, of the trained sum"
PAIRS = (
    ("sum untrained", "sum trained"), (IMAGE, "sum trained"), (TEXT, "sum trained"),
    ("sum untrained", "Combiner trained"), ("Combiner untrained", "Combiner trained"),
    ("sum trained", "Combiner trained"),
    ("sum untrained", "Q-Former trained"), ("Q-Former untrained", "Q-Former trained"), (IMAGE, "Q-Former trained"),
    ("sum trained", "Q-Former trained"),
    *((f"{name} trained", f"{name} {added}") for name, every in VARIANTS.items() for added in every),
)  # fmt: skip


def prepare(root: Path) -> Path:
    """Return a clone of the repository with the sample and the features of its towers."""
    clone = root / "clone"
    if not clone.is_dir():
        subprocess.run(["git", "clone", "--quiet", "--local", str(REPO), str(clone)], check=True)
    if not (clone / TRUNK / "joint.json").is_file():
        with contextlib.chdir(clone):
            apply_overrides("params.yaml", list(SETTINGS))
        subprocess.run(["dvc", "repro", "--quiet", "features@trunk", "folds"], cwd=clone, env=environment(), check=True)
    return clone


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child: modules of its own folder, not of this repository."""
    return {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", **more}


def run_folder(clone: Path, name: str, arm: Arm, seed: int, settings: list[str]) -> Path:
    """Return a folder for one run, with its params and links to what all runs share."""
    folder = clone.parent / "runs" / f"{name.replace(' ', '-')}-{seed}"
    (folder / "data/work").mkdir(parents=True, exist_ok=True)
    for path in ("pipeline_lib", "stages", "recipes", *(f"data/{one}" for one in SHARED)):
        if not (folder / path).exists() and (clone / path).exists():
            (folder / path).symlink_to(clone / path)
    (folder / "params.yaml").write_bytes((clone / "params.yaml").read_bytes())
    with contextlib.chdir(folder):
        changes = [*settings, *arm.settings, f"composed.seed={seed}", f"plan.composed=[{arm.kind}]"]
        apply_overrides("params.yaml", changes)
    return folder


def train(folder: Path, arm: Arm, threads: int) -> None:
    """Run the stage compose in a folder, unless its model is there."""
    if (folder / paths.composed_of(arm.kind, 0) / "products").is_dir():
        return
    command = [sys.executable, "-m", "stages.compose", "--kind", arm.kind, "--fold", "0"]
    own = environment(DVC_ROOT=str(folder), PYTHONPATH=str(folder), OMP_NUM_THREADS=str(threads))
    run = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{folder.name}: ended with {run.returncode}\n{(run.stdout + run.stderr)[-2000:]}")
    print(f"{folder.name}: {(run.stderr + run.stdout).strip().splitlines()[-1]}", flush=True)


def rank(folder: Path, arm: Arm, name: str) -> Iterator[tuple[str, pl.DataFrame, dict[str, Any]]]:
    """Yield name, ranks of the queries of test and figures: of the model, and of the rows that it has for free."""
    with contextlib.chdir(folder):
        products = read_split_products(paths.CATALOGUE, paths.FOLDS / "folds.parquet")
        found = evaluate_composed(ComposedModels([arm.kind], [0], "catalogue"), paths.CATALOGUE, products, TRUNK)
        names = {f"composed_{arm.kind}": name, "composed_image_only": IMAGE}
        for direction, own in names.items():
            rows = found.ranks.filter((pl.col("split") == "test") & (pl.col("direction") == direction))
            yield own, rows, found.figures["composed"][direction.removeprefix("composed_")]["test"]
        if name == "sum trained":
            yield TEXT, *text_only(paths.composed_of(arm.kind, 0), products)


def text_only(folder: Path, products: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return ranks and figures of test by the sentence alone: the text's half of a trained sum."""
    tables = (pl.read_parquet(paths.CATALOGUE / f"{name}.parquet") for name in ("queries", "relevance", "query_slices"))
    queries, relevance, slices = tables
    gallery = next(one for one in plan_composed_galleries(products, queries, relevance, [0]) if one.split == "test")
    model = load_composed(folder).model
    texts = torch.from_numpy(open_store(TRUNK / "text").rows([text_key(text) for text in gallery.queries["text"]]))
    with torch.inference_mode():
        vectors = functional.normalize(model.text_projection(texts.float()), dim=-1).numpy()
    targets = np.asarray(open_store(folder / "products").rows(gallery.product_ids), np.float32)[:, None]
    protocol = COMPOSED_PROTOCOLS["catalogue"]
    ranks, _ = rank_composed(gallery, vector_scores(vectors, targets), protocol.rule, "composed_text", 0)
    return ranks, composed_trees(ranks, protocol, slices)[0]["composed"]["text"]["test"]


@dataclass
class Row:
    """Figures of one row of the table: ranks of test and published figures of each seed."""

    ranks: list[pl.DataFrame]
    figures: list[dict[str, Any]]

    def hits(self, prefix: str) -> NDArray[np.float64]:
        """Return the share of seeds in which the first answer of each query is right, (queries,)."""
        name = "R_subset" if prefix else "R"
        found = [recalls(prefix, name, (1,))(one.sort("query_id"))[f"{name}@1"].values for one in self.ranks]
        return np.mean(found, axis=0)

    def groups(self) -> NDArray[np.int64]:
        """Return the group of each query, from 0."""
        return clusters(self.ranks[0].sort("query_id")["group_id"])


def mean_of(values: NDArray[np.float64]) -> Statistic:
    """Return the statistic of the mean of some values of queries."""
    return lambda counts: (counts @ values / counts.sum(axis=1))[:, None]


def cell(row: Row, prefix: str) -> str:
    """Return the mean of the seeds in %, its interval and the range of the seeds."""
    values, name = row.hits(prefix), "R_subset@1" if prefix else "R@1"
    (low, high), *_ = share_intervals(jackknife(mean_of(values), row.groups()))
    seeds = [one[name] for one in row.figures]
    span = "" if len(seeds) == 1 else f"; {100 * min(seeds):.1f} to {100 * max(seeds):.1f}"
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f}{span})"


def tables(rows: dict[str, Row]) -> str:
    """Return both tables in Markdown: figures of each row, and differences paired by query."""
    lines = ["| queries by | seeds | R@1 | R_subset@1 | first answer changes |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        changes = [one["paraphrases"]["first_answer_changes"] for one in row.figures if "paraphrases" in one]
        share = f"{100 * float(np.mean(changes)):.1f}" if changes else "-"
        lines.append(f"| {name} | {len(row.ranks)} | {cell(row, '')} | {cell(row, 'subset_')} | {share} |")
    first = next(iter(rows.values())).figures[0]
    chance = [f"{100 * first['chance'][name]:.1f}" for name in ("R@1", "R_subset@1")]
    lines += [f"| chance | - | {chance[0]} | {chance[1]} | - |", ""]
    lines += ["| difference | R@1 | R_subset@1 |", "|---|---|---|"]
    for before, after in (pair for pair in PAIRS if rows.keys() >= set(pair)):
        cells = []
        for prefix in ("", "subset_"):
            sides = (mean_of(rows[name].hits(prefix)) for name in (before, after))
            (found,) = paired_differences(*sides, rows[before].groups())
            cells.append(f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})")
        lines.append(f"| {after} - {before} | {cells[0]} | {cells[1]} |")
    sizes = f"{first['num_queries']:,} queries of test, {first['num_gallery']:,} products on average."
    return "\n".join([*lines, "", f"{sizes} {machine()}"])


def study(root: Path, arms: dict[str, Arm], seeds: int, settings: list[str], jobs: int) -> dict[str, Row]:
    """Train what is missing of some arms below a folder, and return the rows of the table."""
    clone, threads = prepare(root), max(1, len(os.sched_getaffinity(0)) // jobs)
    runs = [
        (name, arm, run_folder(clone, name, arm, seed, settings))
        for name, arm in arms.items()
        for seed in SEEDS[: min(seeds, arm.seeds)]
    ]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(train, folder, arm, threads) for _, arm, folder in runs]:
            done.result()
    rows: dict[str, Row] = {}
    for name, arm, folder in runs:
        for own, ranks, figures in rank(folder, arm, name):
            if own == IMAGE and IMAGE in rows:
                continue
            row = rows.setdefault(own, Row([], []))
            row.ranks.append(ranks)
            row.figures.append(figures)
    return {name: rows[name] for name in (IMAGE, TEXT, *arms) if name in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: only whether it runs")
    parser.add_argument("--root", type=Path, help="folder of the clone and the runs, which is kept")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS), help="rows of the table; all")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--set", nargs="*", default=[], help="settings of all runs, such as composed.epochs=30")
    options = parser.parse_args()
    settings = [*options.set, *(["composed.epochs=1"] if options.quick else [])]
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        root = (options.root or Path(folder)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        arms = {name: arm for name, arm in ARMS.items() if name in options.arms}
        print(tables(study(root, arms, 1 if options.quick else len(SEEDS), settings, options.jobs)))


if __name__ == "__main__":
    main()

"""Mean pooling of frames against temporal layers on the sample `clips`, three seeds each, paired by query.

    python bench/video_study.py [--quick] [--root FOLDER] [--jobs N] [--set KEY=VALUE ...] [--teacher FOLDER]

A clone of the repository makes the sample, its frames and the features of its towers once, through `dvc repro`. Each
arm and seed then is one run of the stages train and embed, in a folder that shares them. A run that is finished is not
repeated. The column "before its reverse" is R_subset@1, the share of captions that are nearer to their clip than to the
same clip played backwards: by chance, and for any mean of frames, it is one half. With a teacher, a folder as `vitrine
keep` writes it into data/starts, the temporal model is also trained with the losses of TeachCLIP. Prints tables in
Markdown.
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from composed_study import environment, mean_of
from dvc.utils.hydra import apply_overrides
from numpy.typing import NDArray
from results import machine

from pipeline_lib.artifacts import paths
from pipeline_lib.evaluation.intervals import share_intervals
from pipeline_lib.evaluation.jackknife import clusters, jackknife, paired_differences
from pipeline_lib.evaluation.query_subsets import read_subsets
from pipeline_lib.metrics.gallery_ranks import SUBSET, Gallery, rank_gallery
from pipeline_lib.metrics.ranking import ranks_of
from pipeline_lib.stores.store import open_store

REPO = Path(__file__).resolve().parent.parent
SEEDS = (7, 8, 9)
SETTINGS = (
    "data.root=data/sample/clips", "data.reader=captions_csv", "plan.frames=[clips]",
    "plan.folds=[0]", "plan.scales=[64]", "plan.search=[]", "plan.features=[trunk]", "features.trunk.at=pooled",
    "train.unfreeze_layers=0", "train.photo=mean_pool",
    "embed.photo=mean_pool", "embed.flip=false", "train.text=random", "train.batch_size=64", "train.epochs=40",
    "train.mining=hard", "train.best_metric=R@1", "model.weights_root=data/sample/clip_weights",
    "model.image.name=data/sample/clip_weights/image", "model.text.name=data/sample/clip_weights/text",
    "losses.cross_entropy.weight=0", "runtime.device=cpu", "train.text_augment=none",
)  # fmt: skip
WORK = (paths.CODE, paths.FRAMES, paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES, paths.WORK / "phases")
DATA = ("sample", "starts", "splits", "predictions")
SHARED = ("pipeline_lib", "stages", "recipes", *(f"data/{one}" for one in DATA), *map(str, WORK))
# Row of the table -> its settings beside SETTINGS.
ARMS: dict[str, tuple[str, ...]] = {
    "mean of the frames": ("model.frames.layers=0",),
    "temporal layer and attention": ("model.frames.layers=1", "model.frames.pooling=attention"),
}
BEFORE, AFTER = ARMS
DISTILLED = "temporal layer and attention, distilled"
# The weights of TeachCLIP, as in docs/video.md.
DISTILLATION = (
    "losses.info_nce.weight=0.2",
    "losses.coarse_distillation.weight=1",
    "losses.frame_distillation.weight=2",
)
TEACHER = "shop"
SLICES = ("time", "still")
SCALE = ["--scale", "64"]


@dataclass(frozen=True)
class Result:
    """One query of test a row: its slices, the group of its clip, and for each seed a hit at 1 and `before` (or NaN).

    `hits` and `before` are (seeds, queries).
    """

    slices: list[set[str]]
    groups: NDArray[np.int64]
    hits: NDArray[np.float64]
    before: NDArray[np.float64]


def prepare(root: Path, settings: Sequence[str], teacher: Path | None) -> Path:
    """Return a clone of the repository with the sample, its frames and the features of its towers and of a teacher."""
    clone = root / "clone"
    if not clone.is_dir():
        subprocess.run(["git", "clone", "--quiet", "--local", str(REPO), str(clone)], check=True)
    with contextlib.chdir(clone):
        apply_overrides("params.yaml", [*SETTINGS, *settings])
    stages = {"trunk": ["features@trunk", "folds"]}
    if teacher is not None:
        shutil.copytree(teacher, clone / "data/starts" / TEACHER, dirs_exist_ok=True)
        with contextlib.chdir(clone):
            apply_overrides("params.yaml", [f"plan.teachers=[{TEACHER}]", "features.teacher_words=true"])
        stages[TEACHER] = [f"teacher@{TEACHER}"]
    for name, targets in stages.items():
        if not (clone / paths.features_of(name)).is_dir():
            subprocess.run(["dvc", "repro", "--quiet", *targets], cwd=clone, env=environment(), check=True)
    return clone


def train(clone: Path, name: str, arm: Sequence[str], seed: int, threads: int) -> Path:
    """Run the stages train and embed with an arm's settings, unless they are done, and return the folder of the run."""
    folder = clone.parent / "runs" / f"{name.replace(' ', '-')}-{seed}"
    (folder / "data/work").mkdir(parents=True, exist_ok=True)
    for path in SHARED:
        if not (folder / path).exists() and (clone / path).exists():
            (folder / path).symlink_to(clone / path)
    (folder / "params.yaml").write_bytes((clone / "params.yaml").read_bytes())
    override = "from dvc.utils.hydra import apply_overrides; import sys; apply_overrides('params.yaml', sys.argv[1:])"
    stages = [["-m", f"stages.{stage}", "--fold", "0", *rest] for stage, rest in (("train", []), ("embed", SCALE))]
    commands = [["-c", override, *arm, f"train.seed={seed}"], *stages]
    if (folder / paths.WORK / "embed/0/64/queries").is_dir():
        return folder
    own = environment(DVC_ROOT=str(folder), PYTHONPATH=str(folder), OMP_NUM_THREADS=str(threads))
    for command in commands:
        run = subprocess.run(
            [sys.executable, *command], cwd=folder, env=own, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise SystemExit(f"{folder.name}: ended with {run.returncode}\n{(run.stdout + run.stderr)[-2000:]}")
    print(f"{folder.name}: done", flush=True)
    return folder


def measure(clone: Path, folders: Sequence[Path]) -> Result:
    """Return what the queries of test find in each run."""
    tables = {name: pl.read_parquet(clone / paths.CATALOGUE / f"{name}.parquet")
              for name in ("relevance", "query_slices")}  # fmt: skip
    subsets = read_subsets(clone / paths.CATALOGUE)
    assert subsets is not None, "the captions name no reverse"
    reverse = dict(subsets.iter_rows())
    split = pl.read_parquet(clone / paths.FOLDS / "folds.parquet").filter(split="test")
    clips = split["product_id"].to_list()
    answer = dict(
        tables["relevance"].filter(pl.col("product_id").is_in(clips)).select("query_id", "product_id").iter_rows()
    )
    queries = sorted(answer)
    hits, before = [], []
    for folder in folders:
        store = folder / paths.WORK / "embed/0/64"
        texts, vectors = (np.asarray(open_store(store / name).rows(ids), np.float32)
                          for name, ids in (("queries", queries), ("products", clips)))  # fmt: skip
        gallery = Gallery("test", None, queries, texts, clips, vectors, subsets=subsets)
        ranks = rank_gallery(gallery, tables["relevance"], "cpu").sort("query_id")
        whole, pairs = (ranks.filter(direction=name) for name in ("text_to_image", SUBSET))
        hits.append(ranks_of(whole).hits(1))
        share = dict(zip(pairs["query_id"], ranks_of(pairs).hits(1), strict=True))
        before.append(np.array([share.get(query, np.nan) for query in queries]))
    named = {query: set(part["slice"]) for (query,), part in tables["query_slices"].group_by("query_id")}
    groups = clusters(pl.Series([min(answer[query], reverse.get(query, answer[query])) for query in queries]))
    return Result([named[query] for query in queries], groups, np.array(hits), np.array(before))


def cells(result: Result, name: str) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return the queries of a slice, and their mean hit and mean share before the reverse over the seeds."""
    chosen = np.array([name in slices for slices in result.slices])
    return chosen, result.hits[:, chosen].mean(axis=0), result.before[:, chosen].mean(axis=0)


def figure(values: NDArray[np.float64], groups: NDArray[np.int64], seeds: NDArray[np.float64]) -> str:
    """Return the mean in %, its interval over products, and the range of the seeds."""
    (low, high), *_ = share_intervals(jackknife(mean_of(values), clusters(pl.Series(groups))))
    spans = [f"{100 * low:.1f} to {100 * high:.1f}" for low, high in ((low, high), (seeds.min(), seeds.max()))]
    return f"{100 * values.mean():.1f} ({'; '.join(spans)})"


def tables(results: dict[str, Result]) -> str:
    """Return the figures of each arm by slice, and the differences paired by query."""
    lines = ["| pooling | slice | queries | R@1 | before its reverse |", "|---|---|---|---|---|"]
    for name, result in results.items():
        for part in (*SLICES, "colour", "across", "distance", "turn"):
            chosen, hits, before = cells(result, part)
            groups = result.groups[chosen]
            shares = [figure(hits, groups, result.hits[:, chosen].mean(axis=1))]
            timed = not np.isnan(before).any()
            shares.append(figure(before, groups, result.before[:, chosen].mean(axis=1)) if timed else "-")
            lines.append(f"| {name} | {part} | {chosen.sum()} | {' | '.join(shares)} |")
    for before, after in itertools.pairwise(results):
        lines += ["", f"| {after} - {before} | R@1 |", "|---|---|"]
        for part in SLICES:
            chosen, first, _ = cells(results[before], part)
            _, second, _ = cells(results[after], part)
            groups = clusters(pl.Series(results[before].groups[chosen]))
            (found,) = paired_differences(mean_of(first), mean_of(second), groups)
            span = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
            lines.append(f"| {part} | {100 * found.difference:+.1f} ({span}) |")
    return "\n".join([*lines, "", machine()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: only whether it runs")
    parser.add_argument("--root", type=Path, help="folder of the clone and the runs, which is kept")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--set", nargs="*", default=[], help="settings of all runs, such as train.epochs=30")
    parser.add_argument("--teacher", type=Path, help="folder of a teacher; adds the distilled arm")
    options = parser.parse_args()
    arms = ARMS if options.teacher is None else {**ARMS, DISTILLED: (*ARMS[AFTER], *DISTILLATION)}
    settings = [*options.set, *(["train.epochs=1"] if options.quick else [])]
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as temporary:
        root = (options.root or Path(temporary)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        clone = prepare(root, settings, options.teacher)
        seeds = SEEDS[: 1 if options.quick else len(SEEDS)]
        threads = max(1, len(os.sched_getaffinity(0)) // options.jobs)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            runs = {
                name: [pool.submit(train, clone, name, arm, seed, threads) for seed in seeds]
                for name, arm in arms.items()
            }
            folders = {name: [run.result() for run in own] for name, own in runs.items()}
        print(tables({name: measure(clone, own) for name, own in folders.items()}))


if __name__ == "__main__":
    main()

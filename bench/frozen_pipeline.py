"""Frozen towers through DVC on real photos: revision OLDER and the present one in turn, from nothing and in a sweep.

    python bench/frozen_pipeline.py --data ../shared/data/grocery ../shared/data/freeex
    python bench/frozen_pipeline.py --quick          # 400 products, two changes, about 10 minutes
    python bench/frozen_pipeline.py --products 1500 --changes train.head_lr=0.001

Each side is a clone of the repository in a temporary folder: `dvc repro` from nothing (five folds, both flips, two
sizes), then one `dvc exp run -S` for each change of a sweep. The older side has the libraries of its own revision. The
image tower is MobileNetV2 with the weights beside the data. The text tower has the size of MiniLM-L6 and random
weights. Both stay frozen, and run in bf16 on both sides: so the older one embeds anyway (embed.precision=auto). Figures
of both sides can be compared only if their catalogue and folds are made by the same rules, which is not so for the
default OLDER. CPU seconds are those of all processes. Disk is what the outs, DVC's cache and .ckpt take, hard links
once.
"""

import argparse
import csv
import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvc.utils.hydra import apply_overrides
from results import OLDER, Ratio, report

REPO = Path(__file__).resolve().parent.parent
WEIGHTS = "weights/mobilenetv2_100_imagenet_fp16.safetensors"
SIZES = (224, 256)
SETTINGS = {
    "model.weights_root": "data/weights", "model.image.name": "mobilenetv2_100",
    "model.image.weights": f"data/{WEIGHTS}", "model.image.mean": "[0.5,0.5,0.5]",
    "model.image.std": "[0.5,0.5,0.5]", "model.image.size": SIZES[0], "model.text.name": "data/weights/text",
    "model.text.max_tokens": 64, "plan.folds": "[0,1,2,3,4]", "plan.scales": f"[{SIZES[0]},{SIZES[1]}]",
    "plan.features": "[trunk]", "split.num_folds": 5, "shards.size": 256,
    "features.trunk.at": "pooled", "train.unfreeze_layers": 0, "train.batch_size": 128, "embed.flip": "true",
    "data.columns.label": "label", "features.precision": "bf16",
}  # fmt: skip
# What only one side has.
OWN: dict[str, dict[str, str]] = {
    "older": {"plan.index": "[]"},
    "present": {"embed.stored_views": "true", "plan.search": "[]", "train.text_augment": "none"},
}
CATALOGUES = {"freeex": {"data.columns.group": "exercise"}}
CHANGES = (
    "model.classifier.inputs=image", "train.head_lr=0.001", "model.logit_scale=3.5", "losses.triplet.weight=1",
    "losses.cross_entropy.label_smoothing=0.1",
)  # fmt: skip
STORED = ("data/work", "reports", ".dvc/cache", ".ckpt")
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Run:
    """One command: wall and CPU seconds, and the stages that DVC ran."""

    wall: float
    cpu: float
    stages: list[str]


@dataclass
class Side:
    """One clone and the folder of its programs; `runs` are the first run and one for each change."""

    name: str
    folder: Path
    programs: Path
    runs: list[Run] = field(default_factory=list)

    def run(self, *command: str) -> None:
        """Run a command of DVC and record it; the end of the fork server, which DVC does not wait for, is awaited."""
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        start, before = time.perf_counter(), cpu_seconds()
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )
        wall = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(
                f"{self.name}: {' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        reap()
        self.runs.append(Run(wall, cpu_seconds() - before, re.findall(r"Running stage '([^']+)'", done.stdout)))
        counts = stage_counts(self.runs[-1].stages)
        print(f"  {self.name:8} {wall:7.1f} s wall {self.runs[-1].cpu:7.1f} s CPU  {counts}", flush=True)

    def disk(self, folders: Sequence[str] = STORED) -> float:
        """Return the megabytes on disk of the folders, each inode once."""
        files = {}
        for folder in folders:
            for path in (self.folder / folder).rglob("*"):
                status = path.lstat()
                files[status.st_ino] = status.st_blocks * 512
        return sum(files.values()) / 1e6

    def metrics(self) -> dict[str, float]:
        """Return every figure of metrics.json by its path."""
        return dict(leaves(json.loads((self.folder / "reports/metrics.json").read_text(encoding="utf-8"))))


def cpu_seconds() -> float:
    """Return the CPU seconds of all descendants that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reap() -> None:
    """Wait for the descendants that outlive their parents; this process is their reaper."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def leaves(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield (path, figure) of a nested mapping."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, int | float):
        yield path, float(value)


def stage_counts(stages: Sequence[str]) -> str:
    """Return the stages by kind.

    >>> stage_counts(["train@0", "train@1", "report"])
    '2 train, report'
    """
    counts: dict[str, int] = defaultdict(int)
    for stage in stages:
        counts[stage.partition("@")[0]] += 1
    return ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.items())


def make_side(
    name: str, revision: str, data: Path, products: int | None, folder: Path, programs: dict[str, Path]
) -> Side:
    """Clone the repository at a revision, and add the data, the towers, the settings, and a venv if it has none."""
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", "clone", "--quiet", str(REPO), str(folder)], check=True)
    subprocess.run([*git, "checkout", "--quiet", revision], cwd=folder, check=True)
    rows = write_rows(data, folder / "data/raw/shop", products)
    (folder / "data/weights").mkdir(exist_ok=True)
    shutil.copy(data.parent / WEIGHTS, folder / "data" / WEIGHTS)
    write_text_tower(folder / "data/weights/text", [f"{row['title']} {row['description']}" for row in rows])
    settings = SETTINGS | {"data.root": "data/raw/shop"} | OWN[name] | CATALOGUES.get(data.name, {})
    apply_overrides(folder / "params.yaml", [f"{key}={value}" for key, value in settings.items()])
    subprocess.run([*git, "add", "--all"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "--quiet", "--no-verify", "-m", "settings of the bench"], cwd=folder, check=True)
    if name not in programs:
        # As a user of that revision would; stages import the code of the clone that they run in.
        subprocess.run(["make", ".venv/.run"], cwd=folder, check=True, capture_output=True)
        programs[name] = folder / ".venv" / "bin"
    return Side(name, folder, programs[name])


def write_rows(data: Path, out: Path, products: int | None) -> list[dict[str, str]]:
    """Copy the table and its photos, or `products` rows at equal distances; return the rows.

    A column `split` is left out, because it would set the number of folds.
    """
    with (data / "products.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if products and products < len(rows):
        rows = [rows[number * len(rows) // products] for number in range(products)]
    for row in rows:
        row.pop("split", None)
        (out / row["image"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / row["image"], out / row["image"])
    with (out / "products.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def write_text_tower(folder: Path, texts: Sequence[str]) -> None:
    """Write a BERT of the size of MiniLM-L6 with random weights, and a tokenizer of the texts."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=8000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
    ).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "pad_token": "[PAD]", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def measure(data: Path, options: argparse.Namespace, root: Path, programs: dict[str, Path]) -> list[Ratio]:
    """Run both sides on one catalogue, command by command in turn, and return the rows of the table."""
    print(f"{data.name}:", flush=True)
    revisions = {"older": options.older, "present": options.present}
    sides = [
        make_side(name, of, data, options.products, root / f"{data.name}-{name}", programs)
        for name, of in revisions.items()
    ]
    differences: list[str] = []
    commands = [["dvc", "repro"], *(["dvc", "exp", "run", "-S", change] for change in options.changes)]
    for number, command in enumerate(commands):
        print(f" {' '.join(command)}", flush=True)
        for side in sides if number % 2 == 0 else sides[::-1]:
            side.run(*command)
        differences.append(largest_difference(*(side.metrics() for side in sides)))
        print(f"  largest difference of a figure: {differences[-1]}", flush=True)
    again = [stage for run in sides[1].runs[1:] for stage in run.stages if stage.startswith(("features", "views"))]
    print(f"  {data.name}: stages with towers that ran again in the sweep: {again or 'none'}", flush=True)
    for side in sides:
        parts = ", ".join(f"{folder} {side.disk([folder]):,.0f} MB" for folder in STORED)
        print(f"  {side.name:8} {side.disk():,.0f} MB: {parts}", flush=True)
    older, present = sides

    rows = []
    for number, what in enumerate(["from nothing", *(f"next run, {change}" for change in options.changes)]):
        for unit, value, goal in (("s", "wall", ">= 12" if number else ">= 4"), ("CPU s", "cpu", "none")):
            ours, peer = ([getattr(side.runs[number], value)] for side in (present, older))
            rows.append(Ratio(f"{data.name}, {what}", unit, ours, peer, goal, lower_is_better=True))
    disk = Ratio(f"{data.name}, disk of {len(commands)} runs", "MB", [present.disk()], [older.disk()], ">= 3", True)
    return [*rows, disk]


def largest_difference(older: dict[str, float], present: dict[str, float]) -> str:
    """Return the figure of both sides that differs most, relative to its size above 1."""
    common = older.keys() & present.keys()
    found = {path: abs(older[path] - present[path]) / max(1.0, abs(older[path])) for path in common}
    worst = max(found, key=found.__getitem__)
    missing = f"; only on one side: {sorted(older.keys() ^ present.keys())}" if older.keys() ^ present.keys() else ""
    return f"{found[worst]:.2g} ({worst}: {older[worst]:.4f}, {present[worst]:.4f}){missing}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    shared = REPO.parent / "shared/data"
    parser.add_argument("--data", type=Path, nargs="+", default=[shared / "grocery", shared / "freeex"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--products", type=int, help="take this many rows of each table")
    parser.add_argument("--changes", nargs="*", default=list(CHANGES), help="runs of the sweep, each by its -S")
    parser.add_argument("--older", default=OLDER, help="revision of the older side")
    parser.add_argument("--present", default="HEAD", help="revision of the present side")
    options = parser.parse_args()
    if options.quick:
        options.data, options.products, options.changes = options.data[:1], options.products or 400, CHANGES[:2]
    for data in options.data:
        if not (data / "products.csv").is_file() or not (data.parent / WEIGHTS).is_file():
            raise SystemExit(f"{data}: needs products.csv, and {WEIGHTS} beside the folder")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        programs, root = {"present": Path(sys.executable).parent}, Path(folder)
        ratios = [ratio for data in options.data for ratio in measure(data.resolve(), options, root, programs)]
    count = f"{options.products:,} products of each catalogue" if options.products else "all products"
    about = (
        f"Revision {options.older} against the present one, {count}, {len(options.changes)} changes, five folds, "
        f"flips, sizes {SIZES[0]} and {SIZES[1]} px; the peer is the older one."
    )
    report("Frozen pipeline", about, ratios, options.quick)


if __name__ == "__main__":
    main()

"""Whether the disk has room for what the plan makes: recorded sizes of outs, and a formula for stages that never ran.

Formulas, for n photos, t texts and d = model.embedding_dim: shards n * size^2 bytes (photos of the sample take 1 byte a
pixel at quality 92); a store (n + t) * width * 2 bytes, with width 1,024 for towers before training; a model the bytes
of its towers' files, and in training five times that in .ckpt (weights, best weights, average, two moments of AdamW);
towers from a hub, which are not downloaded yet, are not counted.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.experiments.doctor.dvc_state import dvc_file_fault, read_cache_place
from pipeline_lib.experiments.doctor.finding import NOTE, OK, PROBLEM, Finding, Params
from pipeline_lib.experiments.doctor.project import read_weights
from pipeline_lib.experiments.repro.memory import kind_of
from pipeline_lib.params.section import load_params, pick

STORED, TRUNK_WIDTH, IN_TRAINING = 2, 1024, 5
MARGIN = 2.0  # free space below this many times the need is worth a note


@dataclass(frozen=True)
class Sizes:
    """What the formulas count: photos and texts of the catalogue, bytes of the towers' files, and the settings."""

    photos: int
    texts: int
    weights: int
    params: Params


@dataclass(frozen=True)
class Disk:
    """Bytes free, and kind of stage -> bytes of all its planned members, recorded or by a formula.

    `without` are kinds of which neither is known, `copies` is 2 if outs cannot be linked to the cache.
    """

    free: int
    recorded: dict[str, int]
    estimated: dict[str, int]
    without: list[str]
    copies: int


def _shards(sizes: Sizes) -> int:
    return int(sizes.photos * sizes.params["shards"]["size"] ** 2)


def _trunk_store(sizes: Sizes) -> int:
    return (sizes.photos + sizes.texts) * TRUNK_WIDTH * STORED


def _store(sizes: Sizes) -> int:
    return (sizes.photos + sizes.texts) * int(sizes.params["model"]["embedding_dim"]) * STORED


def _training(sizes: Sizes) -> int:
    return sizes.weights * (1 + IN_TRAINING)


# Kind of stage -> bytes of one member that has not run.
FORMULAS: dict[str, Callable[[Sizes], int]] = {
    "shards": _shards,
    "features": _trunk_store,
    "teacher": _trunk_store,
    "views": _trunk_store,
    "phase": _training,
    "train": _training,
    "embed": _store,
    "gallery": _store,
    "index": lambda sizes: 2 * _store(sizes),
    "ensemble": lambda sizes: 2 * _store(sizes),
}


def read_disk(root: Path, params: Params) -> Disk:
    """Return the free space, and the needs of every stage that dvc.yaml plans."""
    for name in ("dvc.yaml", "dvc.lock"):
        if (root / name).is_file() and (fault := dvc_file_fault(root / name)):
            raise ValueError(f"{name}: {fault}")
    members = planned_members(load_params(root / "dvc.yaml").get("stages") or {}, params)
    recorded = recorded_sizes(root)
    means = {kind: sum(values) // len(values) for kind, values in recorded.items() if kind in members}
    sizes = _sizes(root, params)
    formulas = FORMULAS if sizes.photos else {}
    estimated = {kind: formulas[kind](sizes) for kind in members if kind not in means and kind in formulas}
    return Disk(
        free=shutil.disk_usage(root).free,
        recorded={kind: size * members[kind] for kind, size in means.items()},
        estimated={kind: size * members[kind] for kind, size in estimated.items()},
        without=[kind for kind in members if kind not in means and kind not in estimated and kind in FORMULAS],
        copies=1 if read_cache_place(root).linking else 2,
    )


def planned_members(stages: dict[str, Any], params: Params) -> dict[str, int]:
    """Return kind of stage -> the number of its members in the plan, without those that have none."""
    counts = {}
    for name, stage in stages.items():
        lists = [value.removeprefix("${").removesuffix("}") for value in stage.get("matrix", {}).values()]
        counts[name] = prod(len(pick(dict(params), key)) for key in lists)
    return {name: count for name, count in counts.items() if count}


def recorded_sizes(root: Path) -> dict[str, list[int]]:
    """Return kind of stage -> the bytes of the outs of each member in dvc.lock."""
    file = root / "dvc.lock"
    stages = (load_params(file).get("stages") or {}) if file.is_file() else {}
    sizes: dict[str, list[int]] = {}
    for name, stage in stages.items():
        sizes.setdefault(kind_of(name), []).append(sum(out.get("size", 0) for out in stage.get("outs", [])))
    return sizes


def _sizes(root: Path, params: Params) -> Sizes:
    counts = root / paths.CATALOGUE / "counts.json"
    found = read_object(counts) if counts.is_file() else {}
    weights = sum(tower.size for tower in read_weights(root, params))
    return Sizes(found.get("products", 0), found.get("queries", 0), weights, params)


def judge_disk(found: Disk) -> list[Finding]:
    """Return whether a complete run of the plan fits, old outs staying in the cache."""
    needed = found.copies * (sum(found.recorded.values()) + sum(found.estimated.values()))
    largest = sorted((found.recorded | found.estimated).items(), key=lambda item: -item[1])[:3]
    parts = ", ".join(f"{kind} {size / 1e9:.2f}" for kind, size in largest if size)
    line = f"{found.free / 1e9:.1f} GB free; a complete run of the plan makes about {needed / 1e9:.2f} GB"
    line += f" ({parts})" if parts else ""
    if found.without:
        line += f"; not counted before the catalogue has run: {', '.join(found.without)}"
    action = "free some space: `dvc gc -w` removes outs of other states from the cache, `vitrine clean` checkpoints"
    if found.free < needed:
        return [Finding(PROBLEM, line, action)]
    return [Finding(NOTE, line, action) if found.free < MARGIN * needed else Finding(OK, line)]

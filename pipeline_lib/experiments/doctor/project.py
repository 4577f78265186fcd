"""Whether params.yaml, the data and the weights of the towers fit together, without running anything."""

import fnmatch
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.experiments.doctor.dvc_state import dvc_file_fault, folder_bytes
from pipeline_lib.experiments.doctor.finding import NOTE, OK, PROBLEM, Finding, Params
from pipeline_lib.params.all_sections import check_params
from pipeline_lib.params.requirements import check_catalogue
from pipeline_lib.params.section import load_params, pick

HEADER_LIMIT = 100_000_000  # bytes; safetensors refuses longer headers
UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt")
COUNTS = paths.CATALOGUE / "counts.json"
# Folders that DVC ignores without a .dvcignore, as in a data set that git has cloned.
NEVER_HASHED = (".git", ".hg", ".dvc")
# The towers' settings that name weights.
TOWERS = ("image", "text")


class ParamsFacts(NamedTuple):
    """The first fault of params.yaml, None if there is none, and whether it was compared with a catalogue of its data.

    The catalogue that lies there may be of other settings, or of data that changed since: the next run replaces it.
    """

    fault: str | None
    compared: bool = True


def read_params_facts(root: Path, params: Params) -> ParamsFacts:
    """Return the first fault of params.yaml, beside what the catalogue has counted if it is of the present data."""
    file, compared = root / "params.yaml", False
    try:
        check_params(file)
        compared = (root / COUNTS).is_file() and _is_up_to_date(root, params)
        if compared:
            check_catalogue(dict(params), read_object(root / COUNTS, classes=int, queries=int), Path("params.yaml"))
        if compared and (root / paths.FOLDS / "folds.parquet").is_file() and _is_up_to_date(root, params, "folds"):
            from pipeline_lib.splitting.planned_models import refused  # polars takes a moment

            if lines := refused(dict(params), root):
                raise ValueError(lines[0])
    except ValueError as error:
        return ParamsFacts(str(error).replace(f"{root}/", ""), compared)
    return ParamsFacts(None, compared)


def _is_up_to_date(root: Path, params: Params, stage: str = "catalogue") -> bool:
    """Return whether the outs of a stage are of the present settings and data, by what DVC has recorded.

    Its data are the same if the stage or the .dvc file that gives them has the hash in dvc.lock, and if data.root has
    as many files and bytes. Nothing is hashed, so an edit that leaves both numbers as they are is not noticed.
    """
    data = root / params["data"]["root"]
    lock, tracked = root / "dvc.lock", data.with_name(f"{data.name}.dvc")
    files = [file for file in (lock, *sorted(root.glob("data/*/dvc.lock")), tracked) if file.is_file()]
    if not lock.is_file() or any(dvc_file_fault(file) for file in files):
        return False
    entry = (load_params(lock).get("stages") or {}).get(stage, {})
    settings = entry.get("params", {}).get("params.yaml", {})
    if not entry or any(_value(params, key) != value for key, value in settings.items()):
        return False
    present = {path: md5 for file in files for path, md5 in _outs(root, file)}
    return all(
        present.get(dep["path"], dep.get("md5")) == dep.get("md5")
        and (root / dep["path"] != data or _has_size(data, dep, root / ".dvcignore"))
        for dep in entry.get("deps", [])
    )


def _outs(root: Path, file: Path) -> Iterator[tuple[str, str | None]]:
    """Yield path and hash of the outs in a dvc.lock or a .dvc file."""
    content = load_params(file)
    for entry in (content.get("stages") or {}).values() if file.suffix == ".lock" else [content]:
        for out in entry.get("outs", []):
            yield Path(os.path.relpath(file.parent / out["path"], root)).as_posix(), out.get("md5")


def _has_size(folder: Path, recorded: Mapping[str, Any], ignore: Path) -> bool:
    """Return whether a folder has the files and bytes that DVC recorded, without the names that it ignores.

    Patterns of .dvcignore with a folder or a ! need DVC to match them; beside one nothing is counted.
    """
    expected = recorded.get("nfiles"), recorded.get("size")
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    names = [line.rstrip("/") for line in map(str.strip, lines) if line and not line.startswith("#")]
    if None in expected or not folder.is_dir() or any("/" in name or name.startswith("!") for name in names):
        return True
    ignored = re.compile("|".join(map(fnmatch.translate, (*NEVER_HASHED, *names))))
    files, size, pending = 0, 0, [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if ignored.match(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file():
                    files, size = files + 1, size + entry.stat().st_size
    return (files, size) == expected


def _value(params: Params, key: str) -> Any:
    """Return the value under a dotted key; None if an older version had the key alone."""
    try:
        return pick(dict(params), key)
    except ValueError:
        return None


def judge_params(found: ParamsFacts) -> list[Finding]:
    """Return the fault, which says itself what to do."""
    if found.fault is not None:
        return [Finding(PROBLEM, found.fault, "mend params.yaml, then run vitrine check")]
    if found.compared:
        return [Finding(OK, "params.yaml: every key is known, every value fits the data")]
    return [Finding(OK, "params.yaml: every key is known, every value fits; these data have no catalogue yet")]


@dataclass(frozen=True)
class TowerWeights:
    """Where a tower's weights are: `place` is local, made (a stage of the project makes them), missing or hub.

    `faults` are lines on damaged files, `unsafe` files that are not safetensors, `files` complete ones, and `size` the
    bytes of all local files.
    """

    setting: str
    name: str
    place: str
    files: int = 0
    unsafe: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    size: int = 0


def read_weights(root: Path, params: Params) -> list[TowerWeights]:
    """Return the weights of both towers; only headers of files are read."""
    return [_tower_weights(root, params["model"][tower], f"model.{tower}") for tower in TOWERS]


def _tower_weights(root: Path, tower: Params, key: str) -> TowerWeights:
    named = tower.get("weights") or tower["name"]
    setting, path = f"{key}.{'weights' if tower.get('weights') else 'name'}", root / named
    if not tower.get("pretrained", True):
        return TowerWeights(setting, named, "random")
    if not path.exists():
        made = any((parent / "dvc.yaml").is_file() for parent in path.parents if parent not in (root, *root.parents))
        local = named.startswith((".", "/", "data/"))
        return TowerWeights(setting, named, "made" if made else "missing" if local else "hub")
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    unsafe = () if path.is_file() else tuple(one.name for kind in UNSAFE for one in sorted(path.rglob(kind)))
    faults = tuple(fault for file in files if (fault := safetensors_fault(file, root)))
    size = path.stat().st_size if path.is_file() else folder_bytes(path)
    return TowerWeights(setting, named, "local", len(files) - len(faults), unsafe, faults, size)


def safetensors_fault(file: Path, root: Path = Path()) -> str | None:
    """Return what is wrong with a file by its header and size, None if it is a complete .safetensors file."""
    name, size = file.relative_to(root).as_posix(), file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER_LIMIT):
            return f"{name}: not a complete .safetensors file ({size:,} bytes)"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return f"{name}: its header is damaged"
    expected = 8 + length + max(ends, default=0)
    return None if expected == size else f"{name}: {size:,} bytes, its header says {expected:,}"


def judge_weights(towers: list[TowerWeights]) -> list[Finding]:
    """Return a finding for each tower."""
    return [_judge_tower(tower) for tower in towers]


def _judge_tower(tower: TowerWeights) -> Finding:
    what = f"{tower.setting} = {tower.name}"
    if tower.faults:
        return Finding(PROBLEM, f"{what}: {'; '.join(tower.faults)}", "download or make it again")
    places = {
        "random": Finding(NOTE, f"{what}: random weights, because pretrained is false", "set pretrained to true"),
        "made": Finding(OK, f"{what}: not there yet, a stage makes it"),
        "missing": Finding(PROBLEM, f"{what}: no such file or folder", "put it there, or `dvc pull` it"),
        "hub": Finding(NOTE, f"{what}: downloaded when first used, which needs a network", "or put it in data/weights"),
    }
    if tower.place in places:
        return places[tower.place]
    if not tower.files:
        found = f"only {', '.join(tower.unsafe[:3])}" if tower.unsafe else "no weights"
        return Finding(PROBLEM, f"{what}: {found}", "convert them to .safetensors, or set pretrained to false")
    return Finding(OK, f"{what}: {tower.files} complete .safetensors file{'s' * (tower.files > 1)}")

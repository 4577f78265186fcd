"""The state that DVC, git and killed runs have left: lock files, locks, checkpoints, part folders, cache and remote."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline_lib.artifacts import paths
from pipeline_lib.execution.checkpoint_runs import checkpoint_runs
from pipeline_lib.experiments.doctor.finding import NOTE, OK, PROBLEM, Finding, Params
from pipeline_lib.experiments.repro.memory import kind_of
from pipeline_lib.params.section import load_params

RWLOCK = Path(".dvc/tmp/rwlock")
HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
# A value of a matrix in a path of dvc.yaml.
ITEM = re.compile(r"\$\{[^}]*\}")
LINKS = ("reflink", "hardlink", "symlink")


def read_lock_files(root: Path, params: Params) -> dict[str, str | None]:
    """Return path -> fault (None if it is sound) of every dvc.yaml and dvc.lock of the project."""
    files = [path for name in ("dvc.yaml", "dvc.lock") for path in (root / name, *sorted(root.glob(f"data/*/{name}")))]
    return {path.relative_to(root).as_posix(): dvc_file_fault(path) for path in files if path.is_file()}


def dvc_file_fault(path: Path) -> str | None:
    """Return in one line what is wrong with a dvc.yaml, dvc.lock or .dvc file: no YAML or DVC's form, or a cut hash."""
    from dvc import schema as forms  # slow to import
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    of_suffix = {".lock": forms.COMPILED_LOCKFILE_SCHEMA, ".dvc": forms.COMPILED_SINGLE_STAGE_SCHEMA}
    schema = of_suffix.get(path.suffix, forms.COMPILED_MULTI_STAGE_SCHEMA)
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        schema(data)
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        return f"not valid YAML: {' '.join(str(error).split())[:120]}"
    except Invalid as error:
        return f"incomplete: {error}"
    cut = [entry for entry in _hashes(data) if not HASH.fullmatch(str(entry))] if path.suffix == ".lock" else []
    return f"incomplete: {cut[0]!r} is no hash" if cut else None


def _hashes(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "md5" else _hashes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _hashes(inner)


def judge_lock_files(faults: dict[str, str | None]) -> list[Finding]:
    """Return each damaged file with what mends it: DVC's own `commit` refuses a damaged dvc.lock."""
    findings = []
    for path, fault in faults.items():
        if fault and path.endswith(".lock"):
            line = f"{path}: {fault}; a DVC that was killed while it wrote leaves this, and no DVC command works"
            mend = f"rm {path} && dvc repro: outs in DVC's cache are restored by their inputs, nothing runs twice; or "
            findings.append(Finding(PROBLEM, line, f"{mend}git checkout {path}, if a commit has it"))
        elif fault:
            findings.append(Finding(PROBLEM, f"{path}: {fault}", f"mend it, or git checkout {path}"))
    return findings or [Finding(OK, f"{', '.join(faults)}: complete" if faults else "nothing has run yet")]


def read_lost(root: Path, params: Params) -> list[str]:
    """Return the kinds of stages that have outs, but no entry in dvc.lock; none if a file is damaged."""
    if any(read_lock_files(root, params).values()) or not (root / "dvc.yaml").is_file():
        return []
    stages = load_params(root / "dvc.yaml").get("stages", {})
    lock = load_params(root / "dvc.lock") if (root / "dvc.lock").is_file() else {}
    entries = lock.get("stages") or {}
    recorded = {kind_of(name) for name in entries}
    owned = {root / out["path"] for entry in entries.values() for out in entry.get("outs", [])}
    return [name for name, stage in stages.items() if name not in recorded and _has_outs(root, stage, owned)]


def _has_outs(root: Path, stage: dict[str, Any], owned: set[Path]) -> bool:
    """Return whether any of a stage's outs is there, beside those that other stages own and markers of empty folders.

    Stages may share a parent folder: features/trunk is an out of `features`, and features/NAME one of `teacher`.
    """
    names = [next(iter(out)) if isinstance(out, dict) else out for out in stage.get("outs", [])]
    found = [path for name in names for path in root.glob(ITEM.sub("*", name)) if path.name != ".gitkeep"]
    return any(not owned & {path, *path.parents} for path in found)


def judge_lost(names: list[str]) -> list[Finding]:
    """Return a note on stages whose entry is lost or was never written."""
    if not names:
        return []
    line = f"no entry in dvc.lock, though their outs are there: {', '.join(names)}; a killed DVC may have cut the file"
    return [Finding(NOTE, line, "dvc repro: it restores what its cache knows, and runs the rest")]


@dataclass(frozen=True)
class Leftovers:
    """What killed commands may have left.

    `rwlock` is None without that file, "damaged" or "sound"; `running` are commands of DVC that run; checkpoints are
    counted with their bytes; `parts` are part folders of stages; `branch` is None on a detached HEAD, "" without git.
    """

    rwlock: str | None = None
    running: list[str] = field(default_factory=list)
    unfinished: int = 0
    unfinished_bytes: int = 0
    parts: list[str] = field(default_factory=list)
    branch: str | None = "main"


def read_leftovers(root: Path, params: Params) -> Leftovers:
    """Return what is there."""
    state, running = read_rwlock(root / RWLOCK)
    open_runs = [run for run in checkpoint_runs() if run.state == "unfinished"]
    parts = sorted(path.relative_to(root).as_posix() for path in (root / paths.WORK).rglob(".*.part") if path.is_dir())
    size = sum(run.size for run in open_runs)
    return Leftovers(state, running, len(open_runs), size, parts, current_branch(root))


def read_rwlock(file: Path) -> tuple[str | None, list[str]]:
    """Return the state of DVC's list of locks, and the commands in it whose processes run."""
    if not file.is_file():
        return None, []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        infos = [
            *content.get("write", {}).values(),
            *(one for many in content.get("read", {}).values() for one in many),
        ]
        running = {str(info["cmd"]) for info in infos if psutil.pid_exists(int(info["pid"]))}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return "damaged", []
    return "sound", sorted(running)


def current_branch(root: Path) -> str | None:
    """Return the branch, None on a detached HEAD, "" without a git repository."""
    for words in (["rev-parse", "--git-dir"], ["symbolic-ref", "--quiet", "--short", "HEAD"]):
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            return "" if words[0] == "rev-parse" else None
    return done.stdout.strip()


def judge_leftovers(found: Leftovers) -> list[Finding]:
    """Return what each leftover means."""
    findings = []
    if found.rwlock == "damaged":
        line = f"{RWLOCK} is damaged: DVC was killed while it wrote its list of locks, and no stage can start"
        findings.append(Finding(PROBLEM, line, f"rm {RWLOCK}"))
    if found.running:
        findings.append(Finding(NOTE, f"DVC runs now: {'; '.join(found.running)}", "wait for it before a further run"))
    if found.unfinished:
        size = f"{found.unfinished_bytes / 1e6:.0f} MB"
        line = f"checkpoints of {found.unfinished} unfinished run{'s' * (found.unfinished > 1)}, {size}"
        findings.append(Finding(NOTE, line, "dvc repro resumes with the same settings; vitrine clean removes old ones"))
    if found.parts and not found.running:
        named = f"{', '.join(found.parts[:3])}{', ...' * (len(found.parts) > 3)}"
        line = f"part folders of stages that were killed, or stopped with an error: {named}"
        findings.append(Finding(NOTE, line, "nothing: the next run of the stage replaces them"))
    if found.branch is None:
        line = (
            "git is on a detached HEAD, as a killed `dvc exp run` leaves it; experiments started now are listed nowhere"
        )
        findings.append(Finding(NOTE, line, "git checkout main, or the branch you were on"))
    if found.branch == "":
        findings.append(Finding(NOTE, "not a git repository; DVC stores experiments in git", "git init"))
    return findings or [Finding(OK, f"no lock, checkpoint or part folder of a killed run; branch {found.branch}")]


@dataclass(frozen=True)
class CachePlace:
    """DVC's cache: its folder, the link types of the settings, whether hard links can work, and the remotes."""

    folder: Path
    links: list[str]
    same_device: bool
    remotes: list[str]

    @property
    def linking(self) -> list[str]:
        """The link types that work, in the order of the settings; without any, each out is stored twice."""
        return [kind for kind in self.links if kind in LINKS and (self.same_device or kind == "symlink")]


@dataclass(frozen=True)
class Cache:
    """DVC's cache and its bytes."""

    place: CachePlace
    size: int


def read_cache(root: Path, params: Params) -> Cache:
    """Return the cache of the project; ValueError if there is no DVC project."""
    place = read_cache_place(root)
    return Cache(place, folder_bytes(place.folder))


def read_cache_place(root: Path) -> CachePlace:
    """Return where the cache of the project is; ValueError if there is no DVC project."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with closing(Repo(str(root))) as repo:
            folder, links = Path(repo.cache.local.path), list(repo.cache.local.cache_types)
            remotes = sorted(repo.config["remote"])
    except DvcException as error:
        raise ValueError(f"{' '.join(str(error).split())}; run this in a project, or `dvc init`") from None
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    return CachePlace(folder, links, place.stat().st_dev == root.stat().st_dev, remotes)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files of a folder, 0 if there is none."""
    total, pending = 0, [str(folder)] if folder.is_dir() else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def judge_cache(found: Cache) -> list[Finding]:
    """Return how outs are linked to the cache, and whether anything else has a copy."""
    size, place = f"cache {found.size / 1e9:.2f} GB", found.place
    findings = []
    if not place.linking:
        reason = "cache.type allows no link" if place.same_device else "it is on another filesystem"
        line = f"{size}; every out is stored twice, because {reason}"
        findings.append(Finding(NOTE, line, "dvc config cache.type reflink,hardlink,copy, on the project's filesystem"))
    if not place.remotes:
        line = f"{size}, no remote: it is the only copy of the outs"
        findings.append(Finding(NOTE, line, "dvc remote add -d NAME URL, then dvc push"))
    elif not findings:
        findings.append(Finding(OK, f"{size}, linked by {place.linking[0]}; remotes: {', '.join(place.remotes)}"))
    return findings

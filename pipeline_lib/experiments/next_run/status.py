"""What DVC finds changed in each stage: settings with old and new value, inputs, code, outs, command.

Every answer is DVC's own, asked without a lock and without writing. One stage is looked into: `code`, whose outs this
module predicts, because a stage reruns only if the list of its own code changes.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.execution.stage_code import Code, list_code, read_list
from pipeline_lib.experiments.next_run.changed_params import changed_copy, filesystem_with
from pipeline_lib.experiments.recipes.overrides import differences
from pipeline_lib.experiments.revisions import one_line_errors
from pipeline_lib.params.section import load_params

CODE_STAGE = "code"
NO_ENTRY = "has no entry in dvc.lock: it has not run, or the entry is lost"
# DVC's word for the state of a dep or an out -> ours.
STATES = {"modified": "changed", "new": "is new", "deleted": "is missing", "not in cache": "is not in DVC's cache"}


@dataclass(frozen=True)
class Reason:
    """Why a stage runs: a setting with its old and new value, or (old and new None) a line on anything else."""

    what: str
    old: Any = None
    new: Any = None
    is_setting: bool = False


@dataclass(frozen=True)
class StageStatus:
    """One stage of the DAG before the next run: its own reasons to run, and the stages whose outs it reads.

    `size` is the bytes of its outs as recorded, None if it has never run. `restorable` means that DVC's run cache has
    the outs of exactly these inputs, so that its command will not run. `reads` are the paths of its deps.
    """

    name: str
    command: str
    upstream: tuple[str, ...]
    reasons: list[Reason] = field(default_factory=list)
    size: int | None = None
    restorable: bool = False
    reads: tuple[str, ...] = ()


def read_statuses(targets: Sequence[str], changes: Sequence[str]) -> tuple[list[StageStatus], dict[str, Any]]:
    """Return the stages that `dvc repro TARGETS` would visit after changes to params, in its order, and these params.

    Raises ValueError for an unknown target, a refused change, and a project that DVC cannot read.
    """
    with changed_copy(changes) as copy, one_line_errors(" ".join(targets) or "dvc.yaml", "its stages"):
        from dvc.repo import Repo  # slow to import
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        with closing(Repo(fs=filesystem_with(copy))) as repo:
            graph = get_active_graph(repo.index.graph)
            stages = plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))
            code = changed_lists(stages)
            found = [_status(stage, graph.successors(stage), code) for stage in stages]
        return found, load_params(copy)


def changed_lists(stages: Iterable[Any]) -> dict[str, list[str]]:
    """Return path of a list of code -> the files that will differ in it, if the stage `code` has to run."""
    code = next((stage for stage in stages if stage.addressing == CODE_STAGE), None)
    if code is None or not any(dep.status() for dep in code.deps):
        return {}
    changed = {}
    for file in sorted(paths.CODE.glob("*.txt")):
        module = f"stages.{file.stem}"
        new = list_code(module) if Path(*module.split(".")).with_suffix(".py").is_file() else {}
        if files := _different(read_list(file), new):
            changed[file.as_posix()] = files
    return changed


def _different(old: Code, new: Code) -> list[str]:
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def _status(stage: Any, upstream: Iterable[Any], code: dict[str, list[str]]) -> StageStatus:
    names = tuple(one.addressing for one in upstream if one.addressing != CODE_STAGE)
    reasons = list(_reasons(stage, code))
    sizes = [out.meta.size for out in stage.outs if out.meta and out.meta.size is not None]
    return StageStatus(
        name=stage.addressing,
        command=_command(stage),
        upstream=names,
        reasons=reasons,
        size=sum(sizes) if sizes else None,
        restorable=bool(reasons) and _is_restorable(stage, code),
        reads=tuple(dep.def_path for dep in stage.deps),
    )


def _command(stage: Any) -> str:
    command = stage.cmd or ""
    return command if isinstance(command, str) else "\n".join(command)


def _reasons(stage: Any, code: dict[str, list[str]]) -> Iterator[Reason]:
    if hasattr(stage, "name") and not any(out.hash_info for out in stage.outs):
        yield Reason(NO_ENTRY)
        return
    if stage.frozen:
        return
    if stage.changed_stage():
        yield Reason("its command in dvc.yaml changed")
    for dep in stage.deps:
        files = code.get(dep.def_path, [])
        if files:
            yield Reason(f"code: {', '.join(files[:3])}{f' and {len(files) - 3} more' if len(files) > 3 else ''}")
        elif state := dep.status():
            yield from _changed_settings(dep) if hasattr(dep, "read_params") else _changed_path(dep, state)
    for out in stage.outs:
        if state := out.status():
            yield from _changed_path(out, state)


def _changed_path(path: Any, state: dict[str, Any]) -> Iterator[Reason]:
    found = state.get(str(path))
    yield Reason(f"{path} {STATES.get(found, found)}" if isinstance(found, str) else f"{path} changed")


def _changed_settings(dep: Any) -> Iterator[Reason]:
    """Yield each leaf that differs from dvc.lock, once if it is declared beside its section, too."""
    old, new = dep.hash_info.value or {}, dep.read_params()
    changed = {key: (before, after) for key, before, after in differences(dict(old), dict(new))}
    for key, (before, after) in changed.items():
        yield Reason(key, before, after, is_setting=True)


def _is_restorable(stage: Any, code: dict[str, list[str]]) -> bool:
    """Return whether DVC's run cache has the outs of what the stage would read now; it changes the stage object."""
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.hash_info import HashInfo

    if not stage.cmd or any(dep.def_path in code for dep in stage.deps) or stage.addressing == CODE_STAGE:
        return False
    for out in stage.outs:
        out.hash_info = HashInfo()  # otherwise DVC takes the outs of the last run for those of these inputs
    try:
        stage.save_deps()
        with quiet():
            stage.repo.stage_cache.restore(stage, dry=True)
    except DvcException:  # no such run, or an input that is missing
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Silence DVC's own messages, which speak of what it does, where nothing is done."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)

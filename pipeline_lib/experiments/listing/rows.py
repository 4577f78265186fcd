"""The experiments of a repository as rows: what each changed against its parent, and its metrics with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import parse_object
from pipeline_lib.experiments.listing.commits import Commit, experiment_commits, git, read_files
from pipeline_lib.experiments.listing.queue import queued_commits
from pipeline_lib.experiments.recipes.overrides import UNTRACKED, Difference, differences
from pipeline_lib.experiments.revisions import WORKSPACE
from pipeline_lib.experiments.unrun import LOCK, PARAMS, PIPELINE, changes_of
from pipeline_lib.params.section import parse_params

FILES = (PARAMS, paths.METRICS.as_posix(), paths.INTERVALS.as_posix())
# Further files of a commit or a working tree, in which settings may have changed since the run.
PIPELINE_FILES = (PIPELINE, LOCK)
DONE, PARENT = "done", "parent"


@dataclass(frozen=True)
class Experiment:
    """One row: `state` is done, queued, running, failed, parent (a commit) or workspace.

    `changes` are against `parent`. Metrics and intervals are empty trees if there are none, or if they are of other
    settings: those that were changed after the run of a commit or of the working tree are `changed_since`.
    """

    name: str
    state: str
    date: datetime | None
    parent: str
    changes: list[Difference]
    metrics: Mapping[str, Any]
    intervals: Mapping[str, Any]
    changed_since: list[str]


def list_experiments(all_commits: bool = False) -> list[Experiment]:
    """Return the working tree, HEAD and its experiments, or all experiments and the commits that they started from.

    Raises ValueError outside a git repository, before its first commit, and for files that are no YAML or JSON.
    """
    head = git("rev-parse", "HEAD").decode().strip()
    states = {DONE: experiment_commits(), **queued_commits()}
    chosen = [(state, one) for state, many in states.items() for one in many if all_commits or one.parent == head]
    parents = list(dict.fromkeys([head, *(one.parent for _, one in chosen)]))
    files = read_files([*parents, *(one.commit for _, one in chosen)], FILES) | read_files(parents, PIPELINE_FILES)
    rows = [_workspace(files, head)]
    for parent in parents:
        rows.append(_row(Commit(_short(parent, head), parent, "", _date(parent)), PARENT, files))
        rows += [_row(one, state, files, _short(parent, head)) for state, one in chosen if one.parent == parent]
    return rows


def _short(commit: str, head: str) -> str:
    return "HEAD" if commit == head else commit[:7]


def _date(commit: str) -> int:
    return int(git("show", "--no-patch", "--format=%ct", commit))


def _workspace(files: Mapping[tuple[str, str], bytes], head: str) -> Experiment:
    own = {name: Path(name).read_bytes() for name in (*FILES, *PIPELINE_FILES) if Path(name).is_file()}
    contents = {(WORKSPACE, name): content for name, content in own.items()}
    return _row(Commit(WORKSPACE, WORKSPACE, head, 0), WORKSPACE, {**files, **contents}, "HEAD")


def _row(commit: Commit, state: str, files: Mapping[tuple[str, str], bytes], parent: str = "") -> Experiment:
    params, metrics, intervals = (_read(files, commit.commit, name) for name in FILES)
    # The stash of a queued experiment has the metrics of the working tree from which it was queued.
    changed_since = _changed_since(files, commit.commit) if state in (PARENT, WORKSPACE) else []
    shown = state in (DONE, PARENT, WORKSPACE) and not changed_since
    return Experiment(
        name=commit.name,
        state=state,
        date=datetime.fromtimestamp(commit.date, UTC).astimezone() if commit.date else None,
        parent=parent,
        changes=_changes(_read(files, commit.parent, PARAMS), params) if parent else [],
        metrics=metrics if shown else {},
        intervals=intervals if shown else {},
        changed_since=changed_since,
    )


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    return [one for one in differences(old, new) if one.key.partition(".")[0] != UNTRACKED]


def _changed_since(files: Mapping[tuple[str, str], bytes], commit: str) -> list[str]:
    def read(file: Path) -> bytes:
        if (commit, file.as_posix()) not in files:
            raise FileNotFoundError(file)
        return files[commit, file.as_posix()]

    return changes_of(read)


def _read(files: Mapping[tuple[str, str], bytes], commit: str, name: str) -> dict[str, Any]:
    content, where = files.get((commit, name), b""), f"{commit[:9]}: {name}"
    if not content.strip():
        return {}
    return parse_params(content, where) if name == PARAMS else parse_object(content, where)

"""Finds what a queued experiment lacks: it runs in a copy of the repository without the files that git ignores.

Trained models, predictions, assignments of folds and thumbs are such files. Raw data and weights are not among them:
they are large, and DVC puts what it tracks into the copy itself.
"""

import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.merging import Params
from pipeline_lib.experiments.recipes.overrides import changed
from pipeline_lib.params.all_sections import check_all


def queued_params(path: Path, settings: Sequence[str]) -> list[Params]:
    """Return the params of a run with `settings` (key=value), checked, one for each value of a sweep.

    Raises ValueError for a setting that DVC refuses, and for params that break the rules of params.yaml.
    """
    found = changed(path, settings)
    for params in found:
        check_all(params, path)
    return found


def copied_paths(runs: Iterable[Mapping[str, Any]], needed: Iterable[str] = ()) -> list[str]:
    """Return the `--copy-paths` of queued runs by their checked params: what these name and `needed`, each once.

    Of a folder that git tracks in part, only the rest is among them: DVC does not copy into a folder that is there.
    """
    named = dict.fromkeys([*needed, *(path for params in runs for path in used_paths(params))])
    if not named:
        return []
    command = ["git", "--literal-pathspecs", "ls-files", "-z", "--", *named]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tracked = [name for name in listed.split("\0") if name]
    return [path for name in named for path in _untracked(Path(name), tracked)]


def used_paths(params: Mapping[str, Any]) -> list[str]:
    """Return the present folders and files outside DVC's outs that checked params name, without data and weights."""
    named = [Path(params["train"]["init_from"]), Path(params["ensemble"]["fuse_with"])]
    named += [Path(params["split"]["assignment"]), *(paths.STARTS / name for name in params["plan"]["teachers"])]
    named += [paths.JUDGEMENTS] if params["plan"]["judged"] else []
    return [path.as_posix() for path in named if path.exists() and not path.is_absolute()]


def _untracked(path: Path, tracked: Collection[str]) -> Iterator[str]:
    """Yield a path, or the parts of a folder, that git tracks nothing of."""
    name = path.as_posix()
    if not any(one == name or one.startswith(f"{name}/") for one in tracked):
        yield name
    elif path.is_dir():
        for inner in sorted(path.iterdir()):
            yield from _untracked(inner, tracked)

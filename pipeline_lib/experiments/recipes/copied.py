"""Finds what a queued experiment lacks: it runs in a copy of the repository without the files that git ignores.

Trained models, predictions, assignments of folds and thumbs are such files. Raw data and weights are not among them:
they are large, and DVC puts what it tracks into the copy itself.
"""

import os
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
    What is in another folder of the list, or in one that `dvc add` tracks, comes with it. Raises ValueError for a path
    that a copy of the repository cannot have.
    """
    named = dict.fromkeys(Path(path) for path in [*needed, *(path for one in runs for path in used_paths(one))])
    if not named:
        return []
    folders = {folder for path in named for folder in (path, *path.parents) if folder != Path()}
    of_dvc = [Path(f"{folder}.dvc") for folder in folders]
    asked = [*named, *(path.parent for path in named), *of_dvc]
    command = ["git", "--literal-pathspecs", "ls-files", "-z", "--", *map(str, asked)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tracked = {Path(name) for name in listed.split("\0") if name}
    own = [path for path in named if not named.keys() & set(path.parents) and not _is_checked_out(path, tracked)]
    return [part for path in own for part in _untracked(path, tracked)]


def used_paths(params: Mapping[str, Any]) -> list[str]:
    """Return the present folders and files outside DVC's outs that checked params name, without data and weights.

    Raises ValueError for one outside the project by a relative path, which a copy elsewhere cannot follow.
    """
    named = [Path(params["train"]["init_from"]), Path(params["ensemble"]["fuse_with"])]
    named += [Path(params["split"]["assignment"]), *(paths.STARTS / name for name in params["plan"]["teachers"])]
    named += [paths.JUDGEMENTS] if params["plan"]["judged"] else []
    present = [path for path in named if path.exists() and not path.is_absolute()]
    for path in present:
        if os.path.normpath(path).startswith(".."):
            raise ValueError(
                f"{path} is outside the project, and a queued run is in another folder; write the absolute path, or "
                "copy it into the project"
            )
    return [path.as_posix() for path in present]


def _is_checked_out(path: Path, tracked: Collection[Path]) -> bool:
    """Return whether a .dvc file that git tracks brings a path into the copy."""
    return any(Path(f"{folder}.dvc") in tracked for folder in (path, *path.parents))


def _untracked(path: Path, tracked: Collection[Path]) -> Iterator[str]:
    """Yield a path, or the parts of a folder, that git tracks nothing of; ValueError for a file that has no folder."""
    if not any(one == path or path in one.parents for one in tracked):
        if path.is_file() and not any(path.parent in one.parents for one in tracked):
            raise ValueError(
                f"{path}: git tracks nothing in {path.parent}, so a queued run has no such folder; track the file or "
                "its folder with `dvc add`"
            )
        yield path.as_posix()
    elif path.is_dir():
        for inner in sorted(path.iterdir()):
            yield from _untracked(inner, tracked)

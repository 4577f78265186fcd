"""Keeps the trained models of an experiment where other runs can start from them: data/starts/NAME, a folder a fold.

An experiment's models live in DVC's cache under the hash of one state of the pipeline; a run that starts from them
needs them as a dependency, which is a folder with a name. What is kept is whole, or nothing is.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from pipeline_lib import paths
from pipeline_lib.models.saved import CARD, WEIGHTS
from pipeline_lib.params.section import load_params, parse_value
from pipeline_lib.provenance import digest_folder, fresh_folder
from pipeline_lib.revisions import WORKSPACE, at_hand

KEPT = (WEIGHTS, CARD, "tokenizer")
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

# function(path from the project's root, where it goes): copies a file or folder.
Copy = Callable[[Path, Path], None]


def keep(revision: str, name: str, project: Path = Path()) -> Path:
    """Copy every fold's model and tokenizer of a git revision, an experiment or `workspace`; return data/starts/NAME.

    Raises ValueError for a NAME that is no plain one or holds something else, for an unknown revision, and for models
    that are neither in DVC's cache nor in a remote.
    """
    if not re.fullmatch(NAME, name) or name.endswith(".dvc"):
        raise ValueError(
            f"{name!r} is no name for a folder under {paths.STARTS}; write letters, digits, -, _ and ., and no .dvc "
            "behind it"
        )
    folder = project / paths.STARTS / name
    with fresh_folder(folder) as half:
        try:
            if revision == WORKSPACE:
                _keep_workspace(project, half)
            else:
                _keep_revision(revision, project, half)
            if folder.exists() and digest_folder(folder) != digest_folder(half):
                raise ValueError(f"{paths.STARTS / name} is there already and holds something else; take another name")
        except BaseException:
            shutil.rmtree(half)
            raise
    return paths.STARTS / name


def _keep_workspace(project: Path, half: Path) -> None:
    folds = parse_value("plan.folds", list[int], load_params(project / "params.yaml"))

    def copy(source: Path, target: Path) -> None:
        path = project / source
        if not path.exists():
            raise ValueError(f"{path}: no such file; run `dvc repro`")
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)

    _keep_folds([str(fold) for fold in folds], copy, half)


def _keep_revision(revision: str, project: Path, half: Path) -> None:
    import dvc.api  # slow, and the working tree is read without it

    with at_hand(revision, "models are"), closing(dvc.api.DVCFileSystem(str(project), rev=revision)) as tree:

        def copy(source: Path, target: Path) -> None:
            tree.info(source.as_posix())  # `get` passes over what is not there
            tree.get(source.as_posix(), str(target), recursive=True)

        _keep_folds(sorted(Path(path).name for path in tree.ls(paths.TRAIN.as_posix(), detail=False)), copy, half)


def _keep_folds(folds: Sequence[str], copy: Copy, half: Path) -> None:
    if not folds:
        raise ValueError("plan.folds is empty, so no model was trained")
    for fold in folds:
        (half / fold).mkdir()
        for name in KEPT:
            copy(paths.TRAIN / fold / name, half / fold / name)

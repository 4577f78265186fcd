"""Keeps what an experiment made where other runs can use it: its models under data/starts, its predictions.

An experiment's files live in DVC's cache under the hash of one state of the pipeline; a run that uses them needs them
as a dependency, which is a folder with a name. What is kept is whole, or nothing is.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.ensembling.external_predictions import CLASSES, TABLE
from pipeline_lib.experiments.revisions import WORKSPACE, at_hand
from pipeline_lib.models.saved import CARD, WEIGHTS
from pipeline_lib.params.section import load_params, parse_value

KEPT = (WEIGHTS, CARD, "tokenizer")
PREDICTIONS = (TABLE, CLASSES)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class RunOutputs:
    """What a revision made: `copy` takes a file or folder, by its path in the project, to a place; and its folds."""

    copy: Callable[[Path, Path], None]
    folds: Callable[[], list[str]]


def keep(revision: str, name: str, project: Path = Path()) -> Path:
    """Copy every fold's model and tokenizer of a git revision, an experiment or `workspace`; return data/starts/NAME.

    Raises ValueError for a NAME that is no plain one or holds something else, for an unknown revision, and for models
    that are neither in DVC's cache nor in a remote.
    """
    with _kept_folder(paths.STARTS, name, project) as half, _made(revision, "models are", project) as made:
        folds = made.folds()
        if not folds:
            raise ValueError("plan.folds is empty, so no model was trained")
        for fold in folds:
            (half / fold).mkdir()
            for file in KEPT:
                made.copy(paths.TRAIN / fold / file, half / fold / file)
    return paths.STARTS / name


def keep_predictions(revisions: Sequence[str], name: str, project: Path = Path()) -> Path:
    """Copy class predictions of revisions, out of fold and of test, to data/predictions/NAME/REVISION; return NAME's.

    Raises ValueError as `keep` does, and for a revision whose name is no plain one, for it names a folder.
    """
    with _kept_folder(paths.PREDICTIONS, name, project) as half:
        for revision in revisions:
            if not re.fullmatch(NAME, revision):
                raise ValueError(f"{revision!r} is no name for a folder; give it a plain one: git tag NAME {revision}")
            (half / revision).mkdir()
            with _made(revision, "predictions are", project) as made:
                for file in PREDICTIONS:
                    made.copy(paths.ENSEMBLE / file, half / revision / file)
    return paths.PREDICTIONS / name


@contextmanager
def _kept_folder(root: Path, name: str, project: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `root`/`name` when all has gone well."""
    if not re.fullmatch(NAME, name) or name.endswith(".dvc"):
        raise ValueError(
            f"{name!r} is no name for a folder under {root}; write letters, digits, -, _ and ., and no .dvc behind it"
        )
    folder = project / root / name
    with fresh_folder(folder) as half:
        try:
            yield half
            if folder.exists() and digest_folder(folder) != digest_folder(half):
                raise ValueError(f"{root / name} is there already and holds something else; take another name")
        except BaseException:
            shutil.rmtree(half)
            raise


@contextmanager
def _made(revision: str, what: str, project: Path) -> Iterator[RunOutputs]:
    if revision == WORKSPACE:
        yield _in_workspace(project)
        return
    import dvc.api  # slow, and the working tree is read without it

    with at_hand(revision, what), closing(dvc.api.DVCFileSystem(str(project), rev=revision)) as tree:

        def copy(source: Path, target: Path) -> None:
            tree.info(source.as_posix())  # `get` passes over what is not there
            tree.get(source.as_posix(), str(target), recursive=True)

        yield RunOutputs(
            copy, lambda: sorted(Path(path).name for path in tree.ls(paths.TRAIN.as_posix(), detail=False))
        )


def _in_workspace(project: Path) -> RunOutputs:
    def copy(source: Path, target: Path) -> None:
        path = project / source
        if not path.exists():
            raise ValueError(f"{path}: no such file; run `dvc repro`")
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)

    def folds() -> list[str]:
        return [str(fold) for fold in parse_value("plan.folds", list[int], load_params(project / "params.yaml"))]

    return RunOutputs(copy, folds)

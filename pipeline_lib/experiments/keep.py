"""Saves outputs of an experiment where other runs can use them: models under data/starts, predictions under
data/predictions.

DVC's cache names an experiment's files by the hash of one state of the pipeline. A run that uses them needs a
dependency with a fixed name, which is such a folder. A folder is written completely or not at all, and a model is whole
in it: it needs no base weights.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.meter import current_meter
from pipeline_lib.experiments.revisions import WORKSPACE, one_line_errors
from pipeline_lib.models.base_weights import OtherBaseError, base_paths
from pipeline_lib.models.saved import BASE, CARD, WEIGHTS, make_whole, read_card
from pipeline_lib.params.section import load_params, parse_value
from pipeline_lib.splitting.fused_predictions import CLASSES, TABLE
from pipeline_lib.splitting.seen import FILE as SEEN
from pipeline_lib.splitting.seen import MODELS

MODEL_FILES = (WEIGHTS, CARD, SEEN, "tokenizer")
PREDICTION_FILES = (TABLE, CLASSES)
# What the models behind predictions have seen, a folder for each fold.
SEEN_FILES = (CARD, SEEN)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class RunOutputs:
    """The outputs of a revision: `copy` copies a file or folder of the project to a path, `folds` lists the folds.

    `workspace` if they are those of the working tree.
    """

    copy: Callable[[Path, Path], None]
    folds: Callable[[], list[str]]
    workspace: bool = False


def keep(revision: str, name: str, project: Path = Path()) -> Path:
    """Copy every fold's model and tokenizer of a git revision, an experiment or `workspace`; return data/starts/NAME.

    Raises ValueError for a NAME that is not a plain file name or is in use for something else, for an unknown revision,
    and for models, or base weights of them, that neither DVC's cache nor a remote has.
    """
    with _new_folder(paths.STARTS, name, project) as part, _outputs(revision, "its models", project) as outputs:
        folds = outputs.folds()
        if not folds:
            raise ValueError("plan.folds is empty, so no model was trained")
        for fold in current_meter().over(folds, f"models of {revision}", len(folds), lambda _: 1):
            (part / fold).mkdir()
            for file in MODEL_FILES:
                outputs.copy(paths.TRAIN / fold / file, part / fold / file)
            _make_whole(part / fold, outputs, project)
    return paths.STARTS / name


def keep_predictions(revisions: Sequence[str], name: str, project: Path = Path()) -> Path:
    """Copy class predictions of revisions, out of fold and of test, to data/predictions/NAME/REVISION; return NAME's.

    The cards of the models that made them, with what each has seen, are copied too.

    Raises ValueError as `keep` does, and for a revision whose name is not a plain file name, because it names a folder.
    """
    with _new_folder(paths.PREDICTIONS, name, project) as part:
        for revision in current_meter().over(revisions, "predictions of runs", len(revisions), lambda _: 1):
            if not re.fullmatch(NAME, revision):
                raise ValueError(f"{revision!r} is no name for a folder; give it a plain one: git tag NAME {revision}")
            (part / revision).mkdir()
            with _outputs(revision, "its predictions", project) as outputs:
                for file in PREDICTION_FILES:
                    outputs.copy(paths.ENSEMBLE / file, part / revision / file)
                for fold in outputs.folds():
                    (part / revision / MODELS / fold).mkdir(parents=True)
                    for file in SEEN_FILES:
                        outputs.copy(paths.TRAIN / fold / file, part / revision / MODELS / fold / file)
    return paths.PREDICTIONS / name


def _make_whole(folder: Path, outputs: RunOutputs, project: Path) -> None:
    """Make a copied model whole with the base weights of the working tree, or else with those of its own revision."""
    try:
        make_whole(folder, project)
    except OtherBaseError:
        if outputs.workspace:
            raise
        with TemporaryDirectory() as name:
            for path in base_paths(read_card(folder)[BASE]):
                (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # the name of a published model, or a path that git and DVC ignore
                    outputs.copy(path, Path(name) / path)
            make_whole(folder, Path(name))


@contextmanager
def _new_folder(root: Path, name: str, project: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `root`/`name` if the block ends without an error."""
    if not re.fullmatch(NAME, name) or name.endswith(".dvc"):
        raise ValueError(
            f"{name!r} is no name for a folder under {root}; write letters, digits, -, _ and ., and no .dvc at the end"
        )
    folder = project / root / name
    with fresh_folder(folder) as part:
        try:
            yield part
            if folder.exists() and digest_folder(folder) != digest_folder(part):
                raise ValueError(f"{root / name} exists already with other content; choose another name")
        except BaseException:
            shutil.rmtree(part)
            raise


@contextmanager
def _outputs(revision: str, what: str, project: Path) -> Iterator[RunOutputs]:
    if revision == WORKSPACE:
        yield _workspace_outputs(project)
        return
    import dvc.api  # slow to import, and not needed for the working tree

    with one_line_errors(revision, what), closing(dvc.api.DVCFileSystem(str(project), rev=revision)) as tree:

        def copy(source: Path, target: Path) -> None:
            tree.info(source.as_posix())  # `get` ignores a missing file
            tree.get(source.as_posix(), str(target), recursive=True)

        yield RunOutputs(
            copy, lambda: sorted(Path(path).name for path in tree.ls(paths.TRAIN.as_posix(), detail=False))
        )


def _workspace_outputs(project: Path) -> RunOutputs:
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

    return RunOutputs(copy, folds, workspace=True)

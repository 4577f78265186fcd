"""Runs a recipe as DVC experiments: `dvc exp run -n NAME-xxxx -S ...`, one for each cell of its grid.

params.yaml is restored after DVC ends: `dvc exp run` leaves its settings there, and the next recipe would then be a
patch over the last one's settings and not over the project's. `vitrine recipe apply` writes a recipe into the file.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.experiments.recipes.copied import copied_paths, queued_params
from pipeline_lib.experiments.recipes.merging import Cell, cells, models_folder
from pipeline_lib.experiments.recipes.overrides import overrides
from pipeline_lib.experiments.recipes.schema import Recipe, read_recipe
from pipeline_lib.params.section import load_params

PARAMS = Path("params.yaml")
STDERR = 2
MODEL_FILES = ("model.safetensors", "model.json")


def run_recipe(name: str, queue: bool, changes: list[str], tiny: bool) -> list[str]:
    """Run a recipe through DVC, or queue it, and return the names of its experiments.

    A grid is always queued. Raises ValueError for an invalid recipe or change, for missing models to start or learn
    from, and if DVC ends with an error.
    """
    params, recipe = load_params(PARAMS), read_recipe(name)
    experiments = cells(name, params, tiny)
    folders = check_models(recipe, tiny)
    queue = queue or len(experiments) > 1
    suffix = secrets.token_hex(2)
    names = [experiment_name(cell, suffix, tiny) for cell in experiments]
    settings = [[*overrides(params, cell.params), *changes] for cell in experiments]
    # All of them before the first is queued, so that a change which does not fit leaves nothing in the queue.
    copied = [copied_paths(queued_params(PARAMS, one), folders) if queue else None for one in settings]
    for experiment, one, copies in zip(names, settings, copied, strict=True):
        launch(experiment, one, copies)
    return names


def launch(experiment: str, settings: Sequence[str], queue_with: Sequence[str] | None) -> None:
    """Run `exp_run`, after which params.yaml is as before; ValueError if DVC ends with an error.

    DVC's messages go to stderr, so that stdout holds the command's own result alone.
    """
    with restored(PARAMS):
        command = exp_run(experiment, settings, queue_with)
        status = subprocess.run(command, env=environment(), stdout=STDERR, check=False).returncode
    if status:
        raise ValueError(f"{experiment}: `dvc exp run` ended with status {status}; see its messages above")


def experiment_name(cell: Cell, suffix: str, tiny: bool) -> str:
    """Return the name of a cell's experiment; the cells of one run of a grid share their suffix."""
    return f"{cell.name}{'-tiny' if tiny else ''}-{suffix}"


def exp_run(experiment: str, settings: Sequence[str], queue_with: Sequence[str] | None = None) -> list[str]:
    """Return the `dvc exp run` of one experiment with `settings` (key=value).

    `queue_with` queues it. A queued experiment runs in a copy of the repository without ignored files, so these
    folders and files are copied there.
    """
    command = [sys.executable, "-m", "dvc", "exp", "run", "-n", experiment]
    if queue_with is not None:
        command.append("--queue")
        for folder in queue_with:
            command += ["--copy-paths", folder]
    for setting in settings:
        command += ["-S", setting]
    return command


def check_models(recipe: Recipe, tiny: bool) -> list[str]:
    """Return the folders of saved models that a recipe reads; ValueError for a folder without models."""
    folders = []
    for name in recipe.needs(tiny):
        folder = models_folder(name, tiny)
        if not [path for path in folder.glob("**/*") if path.name in MODEL_FILES]:
            use = "start from" if name == recipe.starts_from else "learn from"
            raise ValueError(
                f"{folder} holds no models to {use}; `vitrine recipe run {name}{' --tiny' if tiny else ''}` trains "
                f"them, `vitrine keep EXPERIMENT {folder.name}` saves them there"
            )
        folders.append(folder.as_posix())
    return folders


def environment() -> dict[str, str]:
    """Return the environment in which the `python` of the stages is this one."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Restore files to their content before the block, whatever happens in it; a new file is deleted."""
    before = {path: path.read_bytes() if path.is_file() else None for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            if content is not None:
                path.write_bytes(content)
            else:
                path.unlink(missing_ok=True)

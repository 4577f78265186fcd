"""A recipe as DVC experiments: `dvc exp run -n NAME-xxxx -S ...`, one for each cell of its grid.

params.yaml is put back when DVC is through: `dvc exp run` leaves its settings there, and the next recipe would then be
a patch over the last one's settings and not over the project's. `vitrine recipe apply` is for those who want them.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.experiments.recipes.merging import Cell, Params, cells, kept_folder
from pipeline_lib.experiments.recipes.overrides import overrides
from pipeline_lib.experiments.recipes.schema import Recipe, read_recipe
from pipeline_lib.params.section import load_params

PARAMS = Path("params.yaml")
KEPT = ("model.safetensors", "model.json")


def run_recipe(name: str, queue: bool, changes: list[str], tiny: bool) -> list[str]:
    """Run a recipe through DVC, or queue it, and return the names of its experiments.

    A grid is always queued. ValueError if the recipe or its start is not fit to run, or DVC ends with an error.
    """
    params, recipe = load_params(PARAMS), read_recipe(name)
    found = cells(name, params, tiny)
    kept = check_kept(recipe, tiny)
    queue = queue or len(found) > 1
    suffix = secrets.token_hex(2)
    names = [experiment_name(cell, suffix, tiny) for cell in found]
    for cell, experiment in zip(found, names, strict=True):
        command = exp_run(experiment, params, cell.params, changes, queue, kept)
        with put_back(PARAMS):
            status = subprocess.run(command, env=environment(), check=False).returncode
        if status:
            raise ValueError(f"{experiment}: `dvc exp run` ended with status {status}; what it says stands above")
    return names


def experiment_name(cell: Cell, suffix: str, tiny: bool) -> str:
    """Return the name of a cell's experiment; the cells of one run of a grid share their suffix."""
    return f"{cell.name}{'-tiny' if tiny else ''}-{suffix}"


def exp_run(
    experiment: str, params: Params, wanted: Params, changes: list[str], queue: bool, kept: Sequence[str] = ()
) -> list[str]:
    """Return the `dvc exp run` that makes `params` into `wanted`, and then into what `changes` (key=value) say."""
    command = [sys.executable, "-m", "dvc", "exp", "run", "-n", experiment]
    if queue:
        command.append("--queue")
        # A queued experiment runs in a copy of the repository, which has no ignored folders.
        for folder in kept:
            command += ["--copy-paths", folder]
    for override in [*overrides(params, wanted), *changes]:
        command += ["-S", override]
    return command


def check_kept(recipe: Recipe, tiny: bool) -> list[str]:
    """Return the folders of kept models that a recipe reads; ValueError if one holds none yet."""
    folders = []
    for name in recipe.needs(tiny):
        folder = kept_folder(name, tiny)
        if not [path for path in folder.glob("**/*") if path.name in KEPT]:
            use = "start from" if name == recipe.starts_from else "learn from"
            raise ValueError(
                f"{folder} holds no models to {use}; `vitrine recipe run {name}{' --tiny' if tiny else ''}` trains "
                f"them, `vitrine keep EXPERIMENT {folder.name}` puts them there"
            )
        folders.append(folder.as_posix())
    return folders


def environment() -> dict[str, str]:
    """Return the environment in which the stages' `python` is this one."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


@contextmanager
def put_back(*paths: Path) -> Iterator[None]:
    """Leave files as they were before, whatever happens inside; one that was not there is taken away."""
    before = {path: path.read_bytes() if path.is_file() else None for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            if content is not None:
                path.write_bytes(content)
            else:
                path.unlink(missing_ok=True)

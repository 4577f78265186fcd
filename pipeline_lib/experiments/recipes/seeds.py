"""Runs a recipe with several training seeds on the same folds, each seed once, and reads the figures of all.

An experiment is named by its recipe, its settings, the tracked files that differ from HEAD, and its seed. DVC lists the
experiments of HEAD alone. So a name that it lists stands for a run that need not be computed again.
"""

import json
import math
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.experiments.recipes.merging import Cell, cells
from pipeline_lib.experiments.recipes.overrides import overrides
from pipeline_lib.experiments.recipes.run import PARAMS, check_models, experiment_name, launch
from pipeline_lib.experiments.recipes.schema import read_recipe
from pipeline_lib.experiments.revisions import one_line_errors
from pipeline_lib.params.section import load_params

# Written by DVC and by the last run, so they differ from HEAD without a change of the project.
WRITTEN = ("params.yaml", "dvc.lock", "reports")
# Sections whose `seed` counts up.
SEEDED = ("train", "composed")


class SeedRun(NamedTuple):
    """One experiment of one seed: the cell of its recipe, its name, and whether it has ended."""

    cell: str
    seed: int
    experiment: str
    ended: bool


def run_seeds(name: str, count: int, queue: bool, changes: list[str], tiny: bool) -> list[SeedRun]:
    """Run a recipe with train.seed = its own, +1, +2 ... through DVC, or queue it, and return all its experiments.

    With models of plan.composed, composed.seed counts up beside it. A grid is always queued. An experiment that exists
    or waits already is not started again. Raises ValueError as `run_recipe` does, and if `changes` set a seed.
    """
    if count < 2:
        raise ValueError(f"--seeds {count}: a standard deviation needs 2 seeds or more")
    for key in (f"{section}.seed" for section in SEEDED):
        if any(change.lstrip("+").startswith(f"{key}=") for change in changes):
            raise ValueError(f"--seeds counts up from the recipe's own {key}; set that in params.yaml or the recipe")
    params, recipe = load_params(PARAMS), read_recipe(name)
    experiments = cells(name, params, tiny)
    folders = check_models(recipe, tiny)
    queue = queue or len(experiments) > 1
    ended, waiting = known_experiments()
    state = changed_files()
    runs = []
    for cell in experiments:
        sections = SEEDED if cell.params["plan"]["composed"] else SEEDED[:1]
        for number in range(count):
            seeds = {section: cell.params[section]["seed"] + number for section in sections}
            seed = seeds["train"]
            experiment = experiment_name(cell, f"{settings_hash(cell, [changes, state])}-s{seed}", tiny)
            if experiment not in ended | waiting:
                settings = [*overrides(params, cell.params), *changes]
                settings += [f"{section}.seed={value}" for section, value in seeds.items()]
                launch(experiment, settings, folders if queue else None)
                ended |= set() if queue else {experiment}
            runs.append(SeedRun(cell.name, seed, experiment, experiment in ended))
    return runs


def settings_hash(cell: Cell, also: object) -> str:
    """Return a short hash of a cell's settings, except its seeds and the section `runtime`, and of `also`."""
    params = {section: values for section, values in cell.params.items() if section != "runtime"}
    params |= {name: {key: value for key, value in params[name].items() if key != "seed"} for name in SEEDED}
    return digest_value([params, also])[:8]


def known_experiments() -> tuple[set[str], set[str]]:
    """Return the names of HEAD's experiments: those that ended, and those that run or wait in the queue."""
    from dvc.repo import Repo  # slow to import

    with closing(Repo()) as repo:
        ended = {name for listed in repo.experiments.ls().values() for name, _ in listed}
        tasks = repo.experiments.celery_queue.status()
    return ended, {task["name"] for task in tasks if task["status"] in ("Queued", "Running")}


def changed_files() -> str:
    """Return the differences of tracked files from HEAD, without the files that runs write."""
    command = ["git", "diff", "HEAD", "--", ".", *(f":(exclude){name}" for name in WRITTEN)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_metrics(experiment: str, project: Path = Path()) -> dict[str, Any]:
    """Return the metrics of an experiment; ValueError if DVC cannot read them."""
    from dvc.api import DVCFileSystem  # slow to import

    with one_line_errors(experiment, paths.METRICS.as_posix()):
        stored = DVCFileSystem(str(project), rev=experiment).read_bytes(paths.METRICS.as_posix())
    metrics: dict[str, Any] = json.loads(stored)
    return metrics


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation of a sample (n - 1) of two values or more.

    >>> mean_and_deviation([0.5, 1.5, 1.0])
    (1.0, 0.5)
    """
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))

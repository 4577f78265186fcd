"""Runs a recipe, or params.yaml as it is, with several training seeds on the same folds, and reads the figures of all.

An experiment is named by its recipe, its settings, the tracked files that differ from HEAD, and its seed. DVC lists the
experiments of HEAD alone. So a name that it lists stands for a run that need not be computed again. With composed
models the distance of composed.seed from train.seed, which all seeds share, is one of the settings.
"""

import math
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from scipy.special import stdtrit

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.read import parse_object
from pipeline_lib.experiments.recipes.copied import copied_paths, queued_params
from pipeline_lib.experiments.recipes.merging import Cell, cells
from pipeline_lib.experiments.recipes.overrides import UNTRACKED, overrides
from pipeline_lib.experiments.recipes.run import PARAMS, check_models, experiment_name, launch
from pipeline_lib.experiments.recipes.schema import read_recipe
from pipeline_lib.experiments.revisions import one_line_errors
from pipeline_lib.params.section import load_params

# Written by DVC and by the last run, so they differ from HEAD without a change of the project.
WRITTEN = ("params.yaml", "dvc.lock", "reports")
NO_RECIPE = "params"  # the recipe's place in the name of an experiment of params.yaml as it is
# Sections whose `seed` counts up.
SEEDED = ("train", "composed")


class SeedRun(NamedTuple):
    """One experiment of one seed: the cell of its recipe, its name, and whether it has ended."""

    cell: str
    seed: int
    experiment: str
    ended: bool

    @property
    def setting(self) -> str:
        """Return the name that all seeds share, which `vitrine compare` reads."""
        return self.experiment.removesuffix(f"-s{self.seed}")


def run_seeds(name: str | None, count: int, now: bool, changes: list[str], tiny: bool) -> list[SeedRun]:
    """Queue a recipe, or params.yaml, with train.seed = its own, +1, +2 ..., and return all its experiments.

    `now` runs them one after the other in place of queueing. With models of plan.composed, composed.seed counts up
    beside it. An experiment that exists or waits already is not started again. Raises ValueError as `run_recipe` does,
    for fewer than 2 seeds, and if `changes` set a seed.
    """
    if count < 2:
        raise ValueError(f"{count} seeds: a standard deviation needs 2 or more")
    for key in (f"{section}.seed" for section in SEEDED):
        if any(change.lstrip("+").startswith(f"{key}=") for change in changes):
            raise ValueError(f"-S {key}: the seeds count up from the recipe's own; set it in params.yaml or the recipe")
    params = load_params(PARAMS)
    experiments = [Cell(NO_RECIPE, params)] if name is None else cells(name, params, tiny)
    if name is None and tiny:
        raise ValueError("--tiny is of recipes; name one, or leave it out")
    needed = [] if name is None else check_models(read_recipe(name), tiny)
    settings = [[*overrides(params, cell.params), *changes] for cell in experiments]
    results = [queued_params(PARAMS, one) for one in settings]
    ended, waiting = known_experiments()
    state = changed_files()
    runs = []
    for cell, own, found in zip(experiments, settings, results, strict=True):
        sections = SEEDED if any(one["plan"]["composed"] for one in found) else SEEDED[:1]
        identity = settings_hash(cell, [changes, state, *_distances(cell, sections)])
        copied = None if now else copied_paths(found, needed)
        for number in range(count):
            seeds = {section: cell.params[section]["seed"] + number for section in sections}
            seed = seeds["train"]
            experiment = experiment_name(cell, f"{identity}-s{seed}", tiny)
            if experiment not in ended | waiting:
                launch(experiment, [*own, *(f"{section}.seed={value}" for section, value in seeds.items())], copied)
                ended |= {experiment} if now else set()
            runs.append(SeedRun(cell.name, seed, experiment, experiment in ended))
    return runs


def _distances(cell: Cell, sections: Sequence[str]) -> list[int]:
    """Return how far each further seed is from train.seed: the name of a run has that one alone."""
    first, *others = (cell.params[section]["seed"] for section in sections)
    return [seed - first for seed in others]


def settings_hash(cell: Cell, also: object) -> str:
    """Return a short hash of a cell's settings, except its seeds and the section `runtime`, and of `also`."""
    params = {section: values for section, values in cell.params.items() if section != UNTRACKED}
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
    return parse_object(stored, f"{experiment}: {paths.METRICS.as_posix()}")


class Summary(NamedTuple):
    """Mean and standard deviation (n - 1) of a figure over seeds, and the 95 % interval of the mean.

    `cut` says whether the interval would reach beyond the values that the figure can have.
    """

    mean: float
    deviation: float
    low: float
    high: float
    cut: bool


def summarise(values: Sequence[float], limits: tuple[float, float]) -> Summary:
    """Return the summary of two values or more; the interval is Student's t within the `limits` of the figure.

    >>> [round(value, 3) for value in summarise([0.5, 1.5, 1.0], (0.0, 6.0))[:4]]
    [1.0, 0.5, 0.0, 2.242]
    """
    number = len(values)
    mean = math.fsum(values) / number
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (number - 1))
    half = reach(number) * deviation
    # A rank may be above the size of the gallery, which is that of all folds on average.
    low, high = min(limits[0], *values), max(limits[1], *values)
    cut = mean - half < low or mean + half > high
    return Summary(mean, deviation, max(mean - half, low), min(mean + half, high), cut)


def reach(number: int) -> float:
    """Return how many standard deviations the interval of the mean of `number` seeds reaches to each side.

    >>> [round(reach(number), 1) for number in (2, 3, 5)]
    [9.0, 2.5, 1.2]
    """
    return float(stdtrit(number - 1, 0.975)) / math.sqrt(number)

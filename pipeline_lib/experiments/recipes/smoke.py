"""All recipes through DVC with tiny towers, one after the other, and a table of what came of them: `make recipes`.

It shows that every recipe still runs from end to end. A grid is run at its last cell alone: its cells differ in values,
not in what code they reach. Nothing of it stays in the workspace but the table, the logs, and the outs
of the last. Commit nothing while it runs: DVC takes HEAD away for the time of an experiment.
"""

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json
from pipeline_lib.experiments.recipes.merging import cells, kept_folder
from pipeline_lib.experiments.recipes.run import PARAMS, check_kept, environment, exp_run, experiment_name, put_back
from pipeline_lib.experiments.recipes.schema import read_recipe, recipe_names
from pipeline_lib.params.section import load_params, pick

TABLE = Path("reports/recipes.md")
LOGS = Path("logs/recipes")
HEAD = """# Every recipe with tiny towers

Smoke figures: each recipe ran from end to end through DVC on the built-in sample, with random towers of the same kinds,
a few layers deep and an epoch or so long. They say that it runs, and nothing of how good it is.

| recipe | what | result | s | R@1 | MeanRecall |
|---|---|---|---|---|---|
"""


class Outcome(NamedTuple):
    """What came of one recipe; figures are None where it failed."""

    name: str
    about: str
    failed: str
    seconds: float
    recall: float | None
    mean_recall: float | None


def run_all(names: list[str], tell: Callable[[str], None], table: Path = TABLE) -> list[Outcome]:
    """Run recipes with tiny towers, going on after a failure, tell each one's row, and write the table."""
    names = in_order(names or recipe_names())
    wanted = {needed for recipe in map(read_recipe, names) for needed in recipe.needs(tiny=True)}
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with put_back(PARAMS, Path("dvc.lock"), paths.METRICS, paths.INTERVALS):
        for name in names:
            outcomes.append(_run(name))
            tell(_row(outcomes[-1]))
            if name in wanted and not outcomes[-1].failed:
                _keep(kept_folder(name, tiny=True))
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(HEAD + "".join(f"{_row(outcome)}\n" for outcome in outcomes), encoding="utf-8")
    return outcomes


def in_order(names: list[str]) -> list[str]:
    """Return names sorted so that a recipe comes after those whose models it starts or learns from."""
    found: list[str] = []

    def add(name: str) -> None:
        for needed in read_recipe(name).needs(tiny=True):
            add(needed)
        if name not in found:
            found.append(name)

    for name in sorted(names):
        add(name)
    return found


def _run(name: str) -> Outcome:
    begun = time.monotonic()
    failed, recall, mean_recall = "", None, None
    about = read_recipe(name).about
    try:
        _run_tiny(name)
        tested: dict[str, Any] = pick(read_json(paths.METRICS), "test")
        # A classifier retrieves nothing.
        figures = tested.get("retrieval", {}).get("text_to_image", {})
        recall, mean_recall = figures.get("R@1"), figures.get("MeanRecall")
    except (ValueError, OSError) as error:
        failed = str(error)
    return Outcome(name, about, failed, time.monotonic() - begun, recall, mean_recall)


def _run_tiny(name: str) -> None:
    """Run the last cell of a recipe; ValueError names the log if DVC ends with an error."""
    params, recipe = load_params(PARAMS), read_recipe(name)
    cell = cells(name, params, tiny=True)[-1]
    kept = check_kept(recipe, tiny=True)
    experiment = experiment_name(cell, secrets.token_hex(2), tiny=True)
    command = exp_run(experiment, params, cell.params, [], queue=False, kept=kept)
    log = LOGS / f"{name}.txt"
    with put_back(PARAMS), log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(
            command, env=environment(), stdout=stream, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status:
        raise ValueError(f"failed, see {log}")


def _keep(start: Path) -> None:
    """Put the models just trained where recipes that start from them look."""
    shutil.rmtree(start, ignore_errors=True)
    for fold in paths.TRAIN.iterdir():
        if fold.is_dir() and not fold.name.startswith("."):
            shutil.copytree(fold, start / fold.name)


def _row(outcome: Outcome) -> str:
    figures = ["-" if value is None else f"{value:.3f}".lstrip("0") for value in (outcome.recall, outcome.mean_recall)]
    words = outcome.failed.replace("|", "/") or "ran"
    return f"| {outcome.name} | {outcome.about} | {words} | {outcome.seconds:.0f} | {figures[0]} | {figures[1]} |"

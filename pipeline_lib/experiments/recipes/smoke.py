"""Runs all recipes through DVC with tiny towers, one after the other, and writes a table of the results.

`make recipes` shows in this way that every recipe runs from end to end. Only the last cell of a grid runs: cells differ
in values, not in the code that they reach. The workspace holds the table, the logs and the outs of the last run
afterwards. Commit nothing in the meantime: DVC moves HEAD while an experiment runs.
"""

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.meter import Meter
from pipeline_lib.experiments.recipes.merging import cells, models_folder
from pipeline_lib.experiments.recipes.overrides import overrides
from pipeline_lib.experiments.recipes.run import PARAMS, check_models, environment, exp_run, experiment_name, restored
from pipeline_lib.experiments.recipes.schema import read_recipe, recipe_names
from pipeline_lib.params.section import load_params

TABLE = Path("reports/recipes.md")
LOGS = Path("logs/recipes")
HEAD = """# Every recipe with tiny towers

Smoke figures: each recipe ran from end to end through DVC on the built-in sample, with random towers of the same kinds,
a few layers deep, for about an epoch. They show that a recipe runs. They do not show how good it is.

| recipe | what | result | s | R@1 | MeanRecall |
|---|---|---|---|---|---|
"""


class Outcome(NamedTuple):
    """The result of one recipe; `failed` is the error, figures are None if the run failed or retrieves nothing."""

    name: str
    about: str
    failed: str
    seconds: float
    recall: float | None
    mean_recall: float | None


def run_all(names: list[str], report: Callable[[str], None], table: Path = TABLE) -> list[Outcome]:
    """Run recipes with tiny towers, report each one's row, and write the table; a failure does not stop the others."""
    names = in_order(names or recipe_names())
    needed = {other for recipe in map(read_recipe, names) for other in recipe.needs(tiny=True)}
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with restored(PARAMS, Path("dvc.lock"), paths.METRICS, paths.INTERVALS):
        meter = Meter("recipes", lambda line: report(line.rstrip("\n")))
        meter.announce(f"{len(names)} recipes one after the other with tiny towers, each from end to end")
        for name in meter.over(names, "recipes", len(names), lambda _: 1):
            outcomes.append(_run(name))
            report(_row(outcomes[-1]))
            if name in needed and not outcomes[-1].failed:
                _save_models(models_folder(name, tiny=True))
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(HEAD + "".join(f"{_row(outcome)}\n" for outcome in outcomes), encoding="utf-8")
    return outcomes


def in_order(names: list[str]) -> list[str]:
    """Return names sorted so that a recipe follows those whose models it starts or learns from."""
    ordered: list[str] = []

    def add(name: str) -> None:
        for needed in read_recipe(name).needs(tiny=True):
            add(needed)
        if name not in ordered:
            ordered.append(name)

    for name in sorted(names):
        add(name)
    return ordered


def _run(name: str) -> Outcome:
    start = time.monotonic()
    failed, recall, mean_recall = "", None, None
    about = read_recipe(name).about
    try:
        kinds = _run_tiny(name)
        recall, mean_recall = recalls_of_test(read_object(paths.METRICS), kinds)
    except (ValueError, OSError) as error:
        failed = str(error)
    return Outcome(name, about, failed, time.monotonic() - start, recall, mean_recall)


def recalls_of_test(metrics: dict[str, Any], kinds: Sequence[str]) -> tuple[float | None, float | None]:
    """Return R@1 and MeanRecall of test, of the first composed kind if there is one; None for what is not measured.

    >>> recalls_of_test({"composed": {"sum": {"test": {"R@1": 0.5}}}}, ["sum"])
    (0.5, None)
    """
    composed = [metrics["composed"][kind]["test"] for kind in kinds]
    figures = composed[0] if composed else metrics["test"].get("retrieval", {}).get("text_to_image", {})
    return figures.get("R@1"), figures.get("MeanRecall")


def _run_tiny(name: str) -> list[str]:
    """Run the last cell of a recipe, and return its plan.composed; ValueError names the log if DVC fails."""
    params, recipe = load_params(PARAMS), read_recipe(name)
    cell = cells(name, params, tiny=True)[-1]
    check_models(recipe, tiny=True)
    command = exp_run(experiment_name(cell, secrets.token_hex(2), tiny=True), overrides(params, cell.params))
    log = LOGS / f"{name}.txt"
    with restored(PARAMS), log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(
            command, env=environment(), stdout=stream, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status:
        raise ValueError(f"failed, see {log}")
    kinds: list[str] = cell.params["plan"]["composed"]
    return kinds


def _save_models(start: Path) -> None:
    """Copy the models just trained to the folder that recipes which start from them read."""
    shutil.rmtree(start, ignore_errors=True)
    for fold in paths.TRAIN.iterdir():
        if fold.is_dir() and not fold.name.startswith("."):
            shutil.copytree(fold, start / fold.name)


def _row(outcome: Outcome) -> str:
    figures = ["-" if value is None else f"{value:.3f}".lstrip("0") for value in (outcome.recall, outcome.mean_recall)]
    words = outcome.failed.replace("|", "/") or "ran"
    return f"| {outcome.name} | {outcome.about} | {words} | {outcome.seconds:.0f} | {figures[0]} | {figures[1]} |"

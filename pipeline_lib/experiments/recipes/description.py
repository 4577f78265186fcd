"""What a recipe says about itself and what it changes, as `vitrine recipe list` and `show` print it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.contradictions import contradictions
from pipeline_lib.experiments.recipes.merging import Cell, Params
from pipeline_lib.experiments.recipes.overrides import ABSENT, differences
from pipeline_lib.experiments.recipes.schema import FOLDER, LogRecipe, Recipe, lineage, read_recipe


def reported(recipe: Recipe) -> str:
    """Return the log's figures in one line; "profile" for an intent profile, which reports none.

    A figure that is itself a mapping, one of a cell or of a direction, shows its own figures in brackets.
    """
    if not isinstance(recipe, LogRecipe):
        return "profile"
    if isinstance(recipe.reported, str):
        return recipe.reported
    figures = {key: value for key, value in recipe.reported.items() if key != "unit"}
    unit = "" if recipe.reported["unit"] == "fraction" else f" {recipe.reported['unit']}"
    return _figures(figures) + unit


def summary(name: str, recipe: Recipe) -> dict[str, Any]:
    """Return name, about, log, row and reported of a recipe; the last three are None for a profile."""
    own: dict[str, Any] = {"log": None, "row": None, "reported": None}
    if isinstance(recipe, LogRecipe):
        own = {"log": recipe.log, "row": recipe.row or name, "reported": recipe.reported}
    return {"name": name, "about": recipe.about, **own}


def description(name: str, folder: Path = FOLDER) -> list[str]:
    """Return lines about a recipe: its purpose, its row and the log's figures, the models it reads, its notes."""
    recipe = read_recipe(name, folder)
    lines = [f"{name}: {recipe.about}"]
    if isinstance(recipe, LogRecipe):
        lines.append(f"log {recipe.log}, row {recipe.row or name}; reported: {reported(recipe)}")
    else:
        lines.append("intent profile; no figures are reported")
    if recipe.starts_from:
        lines.append(f"starts from the saved models of {recipe.starts_from}")
    if recipe.distilled_from:
        lines.append(f"learns from the saved models of {', '.join(recipe.distilled_from)}")
    for teacher, stand_in in recipe.published_teachers.items():
        public = paths.STARTS / teacher
        lines.append(f"learns from the public model of {public}; with --tiny from the saved models of {stand_in}")
    return lines + [f"note ({file}): {note}" for file, note in notes(name, folder)]


def notes(name: str, folder: Path = FOLDER) -> list[tuple[str, str]]:
    """Return the notes of a recipe and of its bases as (file stem, note), its own first."""
    return [(path.stem, " ".join(base.note.split())) for path, base in reversed(lineage(name, folder)) if base.note]


def changes(cells: Sequence[Cell], params: Params, grid: dict[str, list[Any]]) -> list[tuple[str, str, str]]:
    """Return (key, value in params, value in the recipe) for each key that changes.

    A key of the grid shows the values of all cells.
    """
    changed = {difference.key: difference for cell in cells for difference in differences(params, cell.params)}
    rows = []
    for key, difference in changed.items():
        values = grid.get(key) or [difference.new]
        rows.append((key, _word(difference.old), " | ".join(_word(value) for value in values)))
    return rows


def changed_values(cell: Cell, params: Params) -> list[dict[str, Any]]:
    """Return the keys that an experiment changes, with `old` and `new`; a key without a value has no such entry."""
    return [
        {"key": one.key} | {name: value for name, value in (("old", one.old), ("new", one.new)) if value is not ABSENT}
        for one in differences(params, cell.params)
    ]


def warnings(cells: Sequence[Cell]) -> list[str]:
    """Return where the names of experiments contradict their settings, each line once."""
    return list(dict.fromkeys(line for cell in cells for line in contradictions(cell.name, cell.params)))


def _figures(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} ({_figures(value)})" if isinstance(value, dict) else f"{key} {value}" for key, value in figures.items()
    )


def _word(value: Any) -> str:
    return "null" if value is None else str(value)

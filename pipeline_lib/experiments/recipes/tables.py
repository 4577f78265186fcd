"""What `vitrine recipe list` and `show` print: the experiments of the logs, and one of them against params.yaml."""

from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.contradictions import contradictions
from pipeline_lib.experiments.recipes.merging import Cell, Params, cells
from pipeline_lib.experiments.recipes.overrides import differences
from pipeline_lib.experiments.recipes.pending import PENDING
from pipeline_lib.experiments.recipes.schema import FOLDER, Recipe, lineage, read_recipe, recipe_names


def list_table(folder: Path = FOLDER) -> Table:
    """Return every recipe with its first line and what the log reported, then the rows that have none yet."""
    table = Table(title="Recipes")
    for heading in ("recipe", "about", "reported"):
        table.add_column(heading)
    for name in recipe_names(folder):
        recipe = read_recipe(name, folder)
        table.add_row(name, recipe.about, reported(recipe))
    for name, reason in PENDING.items():
        table.add_row(name, f"not yet: {reason}", "", style="dim")
    return table


def reported(recipe: Recipe) -> str:
    """Return what the log reported, in one line.

    A figure that is itself a mapping, a cell's or a direction's, shows its own in brackets.
    """
    if isinstance(recipe.reported, str):
        return recipe.reported
    figures = {key: value for key, value in recipe.reported.items() if key != "unit"}
    unit = "" if recipe.reported["unit"] == "fraction" else f" {recipe.reported['unit']}"
    return _figures(figures) + unit


def _figures(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} ({_figures(value)})" if isinstance(value, dict) else f"{key} {value}" for key, value in figures.items()
    )


def told(name: str, folder: Path = FOLDER) -> str:
    """Return what a recipe says of itself: about, its row, the log's figures, where it begins, and its notes."""
    recipe = read_recipe(name, folder)
    lines = [
        f"{name}: {recipe.about}",
        f"log {recipe.log}, row {recipe.row or name}; reported: {reported(recipe)}",
    ]
    if recipe.starts_from:
        lines.append(f"starts from the kept models of {recipe.starts_from}")
    if recipe.distilled_from:
        lines.append(f"learns from the kept models of {', '.join(recipe.distilled_from)}")
    for teacher, stand_in in recipe.published_teachers.items():
        public = paths.STARTS / teacher
        lines.append(f"learns from the public model of {public}; with --tiny from {stand_in}'s kept ones")
    notes = [(path.stem, " ".join(base.note.split())) for path, base in lineage(name, folder) if base.note]
    lines += [f"note ({stem}): {note}" for stem, note in reversed(notes)]
    return "\n".join(lines)


def difference_table(name: str, params: Params, tiny: bool, folder: Path = FOLDER) -> Table:
    """Return what a recipe changes in params: a line a key, and for a grid its cells' values side by side."""
    found = cells(name, params, tiny, folder)
    recipe = read_recipe(name, folder)
    table = Table(title=f"{name} against params.yaml" + (f", {len(found)} experiments" if len(found) > 1 else ""))
    for heading in ("key", "params.yaml", "recipe"):
        table.add_column(heading, overflow="fold")
    listed = {difference.key: difference for cell in found for difference in differences(params, cell.params)}
    for key, difference in listed.items():
        values = recipe.grid.get(key)
        new = " | ".join(_word(value) for value in values) if values else _word(difference.new)
        table.add_row(key, _word(difference.old), new)
    return table


def warnings(found: list[Cell]) -> list[str]:
    """Return where the names of experiments contradict their settings, each line once."""
    return list(dict.fromkeys(line for cell in found for line in contradictions(cell.name, cell.params)))


def _word(value: Any) -> str:
    return "null" if value is None else str(value)

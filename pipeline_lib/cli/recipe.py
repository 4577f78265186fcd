"""`vitrine recipe`: named experiments and intent profiles, listed, shown, run through DVC, or put into params.yaml."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.cli.completion import complete_recipe, complete_setting
from pipeline_lib.cli.output import AsJson, Result, show, table

app = typer.Typer(no_args_is_help=True, help="Named experiments and intent profiles: patches over params.yaml.")

Name = Annotated[
    str, typer.Argument(help="A recipe; `vitrine recipe list` names them.", autocompletion=complete_recipe)
]
Tiny = Annotated[bool, typer.Option("--tiny", help="Small random towers of the same kinds, on the built-in sample.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-S", "--set-param", metavar="KEY=VALUE", help="As in `dvc exp run`.", autocompletion=complete_setting
    ),
]


@app.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """List the intent profiles, the recipes of the logs with the figures they reported, and the rows without a recipe.

    In a pipe: name, about and reported figures, one recipe a line.

    JSON: recipes (with name, about, log, row and reported, the last three null for a profile) and pending (with name
    and reason).
    """
    from pipeline_lib.experiments.recipes.description import reported, summary
    from pipeline_lib.experiments.recipes.pending import PENDING
    from pipeline_lib.experiments.recipes.schema import read_recipe, recipe_names

    recipes = {name: read_recipe(name) for name in recipe_names()}
    rows = [(name, recipe.about, reported(recipe)) for name, recipe in recipes.items()]
    rows += [(name, f"not yet: {reason}", "") for name, reason in PENDING.items()]
    data = {
        "recipes": [summary(name, recipe) for name, recipe in recipes.items()],
        "pending": [{"name": name, "reason": reason} for name, reason in PENDING.items()],
    }
    show(Result(data, rows, [table("Recipes", ("recipe", "about", "reported"), rows)]), as_json)


@app.command("show")
def show_recipe(name: Name, tiny: Tiny = False, as_json: AsJson = False) -> None:
    """Show what a recipe is for, what it changes in params.yaml, and where its name contradicts its settings.

    In a pipe: lines about the recipe, then key, old value and new value, one key a line.

    JSON: name, about, log, row, reported, starts_from, distilled_from, published_teachers, notes (with file and note),
    experiments (with name and changes) and warnings.

    A change has key, old and new. It has no old if the key is added, and no new if the key is removed.
    """
    from pipeline_lib.experiments.recipes import description
    from pipeline_lib.experiments.recipes.merging import cells
    from pipeline_lib.experiments.recipes.schema import read_recipe
    from pipeline_lib.params.section import load_params

    params, recipe = load_params(), read_recipe(name)
    experiments = cells(name, params, tiny)
    warnings = description.warnings(experiments)
    rows = description.changes(experiments, params, recipe.grid)
    data = {
        **description.summary(name, recipe),
        "starts_from": recipe.starts_from,
        "distilled_from": recipe.distilled_from,
        "published_teachers": recipe.published_teachers,
        "notes": [{"file": file, "note": note} for file, note in description.notes(name)],
        "experiments": [
            {"name": cell.name, "changes": description.changed_values(cell, params)} for cell in experiments
        ],
        "warnings": warnings,
    }
    title = f"{name} against params.yaml" + (f", {len(experiments)} experiments" if len(experiments) > 1 else "")
    drawn = table(title, ("key", "params.yaml", "recipe"), rows)
    notes = [f"warning: {line}" for line in warnings]
    show(Result(data, rows, [drawn], head=description.description(name), notes=notes), as_json)


@app.command()
def run(
    name: Name,
    queue: Annotated[bool, typer.Option("--queue", help="Queue it for `dvc queue start`; a grid always is.")] = False,
    change: Changes = None,
    tiny: Tiny = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe as a DVC experiment; a grid becomes one queued experiment a cell. params.yaml does not change.

    `vitrine seeds N NAME` runs it with several training seeds.

    JSON: experiments (names).
    """
    from pipeline_lib.experiments.recipes.run import run_recipe

    names = run_recipe(name, queue, change or [], tiny)
    queued = queue or len(names) > 1
    notes = ["queued; `dvc queue start` runs them"] if queued else []
    show(Result({"experiments": names}, [(name,) for name in names], ["\n".join(names)], notes=notes), as_json)


@app.command()
def apply(name: Name, tiny: Tiny = False) -> None:
    """Write a recipe or a profile into params.yaml for `dvc repro`; the file's comments stay."""
    from pipeline_lib.experiments.recipes.merging import cells
    from pipeline_lib.experiments.recipes.overrides import apply as rewrite
    from pipeline_lib.experiments.recipes.overrides import differences
    from pipeline_lib.params.section import load_params

    path = Path("params.yaml")
    params = load_params(path)
    experiments = cells(name, params, tiny)
    if len(experiments) > 1:
        names = ", ".join(cell.name for cell in experiments)
        raise ValueError(f"{name} is a grid ({names}), params.yaml holds one experiment; `vitrine recipe run {name}`")
    rewrite(path, params, experiments[0].params)
    changed = differences(params, experiments[0].params)
    typer.echo(f"params.yaml: {len(changed)} settings changed; `dvc repro` runs it, `git diff params.yaml` shows it")


@app.command()
def run_all(
    names: Annotated[
        list[str] | None, typer.Argument(help="Recipes; none = all of them.", autocompletion=complete_recipe)
    ] = None,
) -> None:
    """Run recipes with --tiny one after the other and write reports/recipes.md; exit 1 if one failed."""
    from pipeline_lib.experiments.recipes.smoke import TABLE
    from pipeline_lib.experiments.recipes.smoke import run_all as run_each

    outcomes = run_each(names or [], typer.echo)
    failed = [outcome.name for outcome in outcomes if outcome.failed]
    typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} recipes ran; {TABLE}")
    if failed:
        raise SystemExit(1)

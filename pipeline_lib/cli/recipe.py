"""`vitrine recipe`: the named experiments of the logs, listed, shown, run through DVC, or put into params.yaml."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Named experiments: patches over params.yaml in recipes/.")

Name = Annotated[str, typer.Argument(help="A recipe; `vitrine recipe list` names them.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="Small random towers of the same kinds, on the built-in sample.")]
Changes = Annotated[
    list[str] | None, typer.Option("-S", "--set-param", metavar="KEY=VALUE", help="As in `dvc exp run`.")
]


@app.command("list")
def list_recipes() -> None:
    """List all recipes with what the log reported, and the rows that have none yet."""
    from pipeline_lib.experiments.recipes.tables import list_table

    Console().print(list_table())


@app.command()
def show(name: Name, tiny: Tiny = False) -> None:
    """Show what a recipe says of itself, what it changes in params.yaml, and where its name is not its content."""
    from pipeline_lib.experiments.recipes.merging import cells
    from pipeline_lib.experiments.recipes.tables import difference_table, told, warnings
    from pipeline_lib.params.section import load_params

    console, params = Console(), load_params()
    console.print(told(name), highlight=False, markup=False, soft_wrap=True)
    console.print(difference_table(name, params, tiny))
    for line in warnings(cells(name, params)):
        console.print(f"warning: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)


@app.command()
def run(
    name: Name,
    queue: Annotated[bool, typer.Option("--queue", help="Queue it for `dvc queue start`; a grid always is.")] = False,
    change: Changes = None,
    tiny: Tiny = False,
) -> None:
    """Run a recipe as a DVC experiment; a grid becomes one queued experiment a cell. params.yaml stays as it is."""
    from pipeline_lib.experiments.recipes.run import run_recipe

    names = run_recipe(name, queue, change or [], tiny)
    queued = queue or len(names) > 1
    typer.echo("\n".join(names) + ("\nqueued; `dvc queue start` runs them" if queued else ""))


@app.command()
def apply(name: Name, tiny: Tiny = False) -> None:
    """Write a recipe into params.yaml, comments kept, for `dvc repro`."""
    from pipeline_lib.experiments.recipes.merging import cells
    from pipeline_lib.experiments.recipes.overrides import apply as rewrite
    from pipeline_lib.experiments.recipes.overrides import differences
    from pipeline_lib.params.section import load_params

    path = Path("params.yaml")
    params = load_params(path)
    found = cells(name, params, tiny)
    if len(found) > 1:
        names = ", ".join(cell.name for cell in found)
        raise ValueError(f"{name} is a grid ({names}), params.yaml holds one experiment; `vitrine recipe run {name}`")
    rewrite(path, params, found[0].params)
    changed = differences(params, found[0].params)
    typer.echo(f"params.yaml: {len(changed)} settings changed; `dvc repro` runs it, `git diff params.yaml` shows it")


@app.command()
def run_all(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes; none = all of them.")] = None,
) -> None:
    """Run recipes with --tiny one after the other and write reports/recipes.md; exit 1 if one failed."""
    from pipeline_lib.experiments.recipes.smoke import TABLE
    from pipeline_lib.experiments.recipes.smoke import run_all as run_each

    outcomes = run_each(names or [], typer.echo)
    failed = [outcome.name for outcome in outcomes if outcome.failed]
    typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} recipes ran; {TABLE}")
    if failed:
        raise SystemExit(1)

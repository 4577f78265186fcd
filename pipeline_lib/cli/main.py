"""The `vitrine` command: registers the commands of every group and turns bad input into one line.

A group's file imports torch, polars or DVC inside its commands, so that `vitrine --help` starts at once.
"""

import sys
from collections.abc import Callable

import typer

from pipeline_lib.cli import (
    checks,
    clean,
    compare,
    doctor,
    experiments,
    headline,
    models,
    plan,
    recipe,
    repro,
    schema,
    search,
    seeds,
    serve,
    split,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fine-tune image-text models on product catalogues. The pipeline itself is run by `dvc repro`.",
)
COMMANDS: tuple[Callable[..., None], ...] = (
    checks.check,
    doctor.doctor,
    plan.plan,
    repro.repro,
    headline.headline,
    compare.compare,
    experiments.experiments,
    seeds.seeds,
    models.keep,
    models.keep_predictions,
    search.search,
    serve.serve,
    checks.check_predictions,
    clean.clean,
    schema.schema,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(recipe.app, name="recipe")
app.add_typer(split.app, name="split")


def main() -> None:
    """Run the command line; bad input is one line and exit status 1."""
    try:
        app()
    except SystemExit as end:
        # The clean-up of torch takes longer than a search; that of DVC is needed.
        if not end.code and "torch" in sys.modules and "dvc" not in sys.modules:
            from pipeline_lib.execution.stage import exit_now

            exit_now()
        raise
    except (ValueError, OSError) as error:
        print(f"vitrine: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error

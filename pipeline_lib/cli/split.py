"""`vitrine split`: an assignment of products to test and folds that holds while the catalogue changes."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Which products are test, and which fold holds each of the others out.")


@app.callback()
def split() -> None:
    """Keep `freeze` a command of its own, as the only one of a group would not be."""


@app.command()
def freeze(name: Annotated[str, typer.Argument(help="Name of the file under data/splits.")]) -> None:
    """Write the folds of the last run to data/splits/NAME.parquet, which as split.assignment keeps products there."""
    from pipeline_lib.splitting.assignment import freeze as write

    path = write(name)
    print(f"{path}: the test split and the folds of the last run")
    print(f"track it: dvc add {path} && git add {path}.dvc")
    print(f"use it:   dvc exp run -S split.assignment={path}")

"""`vitrine repro`: `dvc repro` with independent stages side by side."""

from typing import Annotated

import typer


def repro(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages to run with what they depend on.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages that may run at the same time.")] = 2,
) -> None:
    """Run the pipeline as `dvc repro` does, independent stages side by side where memory allows."""
    from pipeline_lib.experiments.repro.run import reproduce

    try:
        print(reproduce(targets or [], jobs))
    except KeyboardInterrupt:
        print("interrupted: all stages have ended; run the command again to go on")
        raise SystemExit(130) from None

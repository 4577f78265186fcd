"""`vitrine check` and `check-predictions`: checks that run nothing of the pipeline."""

from pathlib import Path
from typing import Annotated

import typer


def check() -> None:
    """Check every section of params.yaml before anything runs."""
    from pipeline_lib.params.all_sections import check_params
    from pipeline_lib.params.requirements import size_notes, view_notes
    from pipeline_lib.params.section import load_params

    check_params(Path("params.yaml"))
    print("params.yaml: every key is known and every value fits")
    params = load_params(Path("params.yaml"))
    for note in [*size_notes(params), *view_notes(params)]:
        print(f"note: {note}")


def check_predictions(
    file: Annotated[Path, typer.Argument(help="A prediction file of MUGE, Chinese-CLIP, CIRR or CIRCO.")],
    queries: Annotated[
        Path,
        typer.Option(
            help="The split's _queries.jsonl or _texts.jsonl with its _imgs.tsv beside it; cap.rc2.*.json of CIRR; "
            "annotations of CIRCO."
        ),
    ],
) -> None:
    """Check a prediction file against its queries and images, and score it if the answers are known."""
    from pipeline_lib.cli.prediction_file import check_file

    print(check_file(file, queries))

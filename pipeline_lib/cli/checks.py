"""`vitrine check`, `check-predictions` and `deps`: checks that run nothing of the pipeline."""

from pathlib import Path
from typing import Annotated

import typer


def check() -> None:
    """Check every section of params.yaml before anything runs."""
    from pipeline_lib.params.all_sections import check_params

    check_params(Path("params.yaml"))
    print("params.yaml: every key is known and every value fits")


def check_predictions(
    file: Annotated[Path, typer.Argument(help="A prediction file of MUGE, raw or in the form of Chinese-CLIP.")],
    queries: Annotated[Path, typer.Option(help="The split's _queries.jsonl or _texts.jsonl; its _imgs.tsv beside it.")],
) -> None:
    """Check a prediction file against its queries and images, and score it if the answers are known."""
    from pipeline_lib.cli.prediction_file import check_file

    print(check_file(file, queries))


def deps(
    write: Annotated[bool, typer.Option("--write", help="Write the code deps into dvc.yaml.")] = False,
) -> None:
    """List the stages whose code deps in dvc.yaml differ from what their code imports."""
    from pipeline_lib.cli.stage_deps import stale_stages, write_code_deps

    path = Path("dvc.yaml")
    changed = write_code_deps(path) if write else stale_stages(path)
    print("\n".join(changed) or "dvc.yaml names exactly the code that each stage imports")
    if changed and not write:
        raise SystemExit(1)

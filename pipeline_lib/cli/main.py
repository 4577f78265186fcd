"""The `vitrine` command: checks, comparisons and what `make repro` prints; heavy imports wait until they are needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json
from pipeline_lib.cli.recipe import app as recipes

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune image-text models on product catalogues. The pipeline itself is run by `dvc repro`.",
)
app.add_typer(recipes, name="recipe")


@app.command()
def check() -> None:
    """Check every section of params.yaml before anything runs."""
    from pipeline_lib.params.all_sections import check_params

    check_params(Path("params.yaml"))
    print("params.yaml: every key is known and every value fits")


@app.command()
def headline() -> None:
    """Print the headline table of the last `dvc repro` and where its report lies."""
    from pipeline_lib.report.headline import headline as table

    for path in (paths.METRICS, paths.INTERVALS):
        if not path.is_file():
            raise ValueError(f"{path}: not made yet; run `dvc repro`")
    console = Console()
    console.print(table(read_json(paths.METRICS), read_json(paths.INTERVALS)))
    console.print(f"report: {paths.PAGE.resolve()}", highlight=False, soft_wrap=True)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Experiment name, git revision, or `workspace`.")],
    second: Annotated[str, typer.Argument(help="Likewise.")] = "workspace",
    resamples: Annotated[int, typer.Option(help="Resamples of the paired bootstrap.")] = 2000,
) -> None:
    """Tell whether SECOND is better than FIRST: paired bootstrap over the same queries and products."""
    from pipeline_lib.experiments.compare.runs import compare_revisions

    Console().print(compare_revisions(first, second, resamples))


@app.command()
def keep(
    experiment: Annotated[str, typer.Argument(help="Experiment name, git revision, or `workspace`.")],
    name: Annotated[str, typer.Argument(help="Name of the folder under data/starts.")],
) -> None:
    """Keep the trained models of EXPERIMENT as data/starts/NAME, for other runs to start from."""
    from pipeline_lib.experiments.keep import keep as keep_models

    folder = keep_models(experiment, name)
    folds = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    print(f"{folder}: the models of {experiment}, folds {folds}")
    print(f"have it tracked: dvc add {folder} && git add {folder}.dvc")
    print(f"start from it:   dvc exp run -S train.init_from={folder}")
    print(f"learn from it:   dvc exp run -S 'plan.features=[{name}]' -S losses.contrastive_distillation.weight=1")


@app.command()
def keep_predictions(
    experiments: Annotated[list[str], typer.Argument(help="Experiment names, git revisions, or `workspace`.")],
    name: Annotated[str, typer.Argument(help="Name of the folder under data/predictions.")],
) -> None:
    """Keep the class predictions of EXPERIMENTS as data/predictions/NAME, for another run to fuse with its own."""
    from pipeline_lib.experiments.keep import keep_predictions as keep_class_predictions

    folder = keep_class_predictions(experiments, name)
    print(f"{folder}: the class predictions of {', '.join(experiments)}")
    print(f"have it tracked: dvc add {folder} && git add {folder}.dvc")
    print(f"fuse with it:    dvc exp run -S ensemble.fuse_with={folder} -S ensemble.weights=fitted")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What is looked for.")],
    kind: Annotated[str, typer.Option(help="Index kind, one of plan.index.")] = "flat",
    fold: Annotated[int, typer.Option(help="Fold whose model and index answer.")] = 0,
    top: Annotated[int, typer.Option(help="Products shown.")] = 5,
) -> None:
    """Search the indexed products of one fold: its held-out products and the test split."""
    from pipeline_lib.cli.search import search_table

    Console().print(search_table(text, kind, fold, top))


@app.command()
def check_predictions(
    file: Annotated[Path, typer.Argument(help="A prediction file of MUGE, raw or in the form of Chinese-CLIP.")],
    queries: Annotated[Path, typer.Option(help="The split's _queries.jsonl or _texts.jsonl; its _imgs.tsv beside it.")],
) -> None:
    """Check a prediction file against its queries and images, and score it if the answers are known."""
    from pipeline_lib.cli.check_predictions import check_file

    print(check_file(file, queries))


@app.command()
def deps(
    write: Annotated[bool, typer.Option("--write", help="Put them into dvc.yaml.")] = False,
) -> None:
    """List the stages whose code deps in dvc.yaml differ from what their code imports."""
    from pipeline_lib.cli.stage_deps import stale_stages, write_code_deps

    path = Path("dvc.yaml")
    changed = write_code_deps(path) if write else stale_stages(path)
    print("\n".join(changed) or "dvc.yaml names exactly the code that each stage imports")
    if changed and not write:
        raise SystemExit(1)


def main() -> None:
    """Run the command line; bad input is one line and exit status 1."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"vitrine: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error

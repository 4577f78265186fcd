"""`vitrine keep` and `vitrine keep-predictions`: save what an experiment trained where other runs can use it."""

from typing import Annotated

import typer

from pipeline_lib.cli.completion import complete_revision


def keep(
    experiment: Annotated[
        str,
        typer.Argument(help="Experiment name, git revision, or `workspace`.", autocompletion=complete_revision),
    ],
    name: Annotated[str, typer.Argument(help="Name of the folder under data/starts.")],
) -> None:
    """Save the trained models of EXPERIMENT as data/starts/NAME, for other runs to start or to learn from."""
    from pipeline_lib.execution.meter import progress
    from pipeline_lib.experiments.keep import keep as keep_models

    with progress("keep"):
        folder = keep_models(experiment, name)
    folds = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    print(f"{folder}: the models of {experiment}, folds {folds}")
    print(f"track it:   dvc add {folder} && git add {folder}.dvc")
    print(f"start here: dvc exp run -S train.init_from={folder}")
    print(f"distil it:  dvc exp run -S 'plan.teachers=[{name}]' -S losses.contrastive_distillation.weight=1")


def keep_predictions(
    experiments: Annotated[
        list[str],
        typer.Argument(help="Experiment names, git revisions, or `workspace`.", autocompletion=complete_revision),
    ],
    name: Annotated[str, typer.Argument(help="Name of the folder under data/predictions.")],
) -> None:
    """Save the class predictions of EXPERIMENTS as data/predictions/NAME, for another run to fuse with its own."""
    from pipeline_lib.execution.meter import progress
    from pipeline_lib.experiments.keep import keep_predictions as keep_class_predictions

    with progress("keep-predictions"):
        folder = keep_class_predictions(experiments, name)
    print(f"{folder}: the class predictions of {', '.join(experiments)}")
    print(f"track it: dvc add {folder} && git add {folder}.dvc")
    print(f"fuse it:  dvc exp run -S ensemble.fuse_with={folder} -S ensemble.weights=fitted")

"""The stages that measure predictions, in the folder of a project whose embeddings are made by hand."""

from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_json
from pipeline_lib.evaluation.baselines.run import read_split_products
from pipeline_lib.evaluation.baselines.stored import write_baselines
from pipeline_lib.params.section import load_params
from stages import evaluate


def measure() -> None:
    """Do what baselines does, for the classes that the models know, which may be fewer than in training; evaluate."""
    planned = load_params(Path("params.yaml"))["plan"]["features"]
    products = read_split_products(paths.CATALOGUE, paths.FOLDS / "folds.parquet")
    paths.BASELINES.mkdir(parents=True, exist_ok=True)
    classes = read_json(paths.ENSEMBLE / "classes.json", list[str])
    write_baselines(paths.features_of("trunk") if planned else None, products, classes, 7, paths.BASELINES)
    evaluate.main()

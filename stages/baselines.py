"""Predicts classes from the towers before training: nearest neighbours, linear probes, zero-shot class names.

No model of ours is read, so all experiments on one catalogue, split and trunk share these predictions.
"""

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.evaluation.baselines.run import read_split_products
from pipeline_lib.evaluation.baselines.stored import write_baselines
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.splitting.trained import class_names


def main() -> None:
    with stage("stages.baselines") as run, metered("baselines") as meter, meter.beating():
        trunk = paths.features_of(TRUNK) if TRUNK in run.value("plan.features", list[str]) else None
        products = read_split_products(paths.CATALOGUE, paths.FOLDS / "folds.parquet")
        towers = "the stored features of the towers" if trunk else "no stored features"
        meter.announce(f"{len(products):,} products in {len(class_names(products)):,} classes, by {towers}, on the CPU")
        meter.begin("products", len(products))
        with fresh_folder(paths.BASELINES) as out:
            write_baselines(trunk, products, class_names(products), run.value("evaluate.seed", int), out)


if __name__ == "__main__":
    main()

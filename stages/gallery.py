"""Embeds the photos and texts of all products with one fold's model, at the first size of plan.scales.

    python -m stages.gallery --fold 0

Several processes with VITRINE_LAUNCH. What the stage embed has for the held-out fold and test is copied.
"""

import argparse
from contextlib import nullcontext

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, read_runtime
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import in_processes
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import Stage, stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    arguments = parser.parse_args()
    with stage("stages.gallery") as run:
        in_processes(run, lambda: gallery(run, arguments.fold))


def gallery(run: Stage, fold: int) -> None:
    # Slow imports, which a process that only launches or forks others does not need.
    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.inference.gallery import open_embedded, write_gallery
    from pipeline_lib.inference.opening import open_model
    from pipeline_lib.loading.products import read_products
    from pipeline_lib.params.embed import EmbedParams

    params, runtime = run.section(EmbedParams), read_runtime()
    scale = run.value("plan.scales", list[int])[0]
    out = paths.gallery_of(fold)
    with (
        join_process_group(pick_device(runtime.device)) as processes,
        metered(f"gallery of fold {fold}", is_first=processes.is_first) as meter,
    ):
        opened = open_model((fold, scale), params, runtime, processes, meter)
        embedded = open_embedded(paths.embed_of(fold, scale), opened)
        products = read_products(paths.CATALOGUE, paths.FOLDS, paths.SHARDS / "manifest.parquet")
        if embedded is None:
            meter.announce("nothing to embed: the model has no joint embedding")
        else:
            meter.announce(f"{len(products):,} products, {len(embedded.ids):,} embedded already, by {opened.summary}")
        with fresh_folder(out) if processes.is_first else nullcontext(out) as target:
            if embedded is not None:
                write_gallery(opened, products, embedded, target)


if __name__ == "__main__":
    run_stage("stages.gallery", main)

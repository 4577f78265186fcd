"""Runs one fold's model over its held-out fold and test at one image size; in several processes with VITRINE_LAUNCH."""

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
    parser.add_argument("--scale", type=int, required=True)
    arguments = parser.parse_args()
    with stage("stages.embed") as run:
        in_processes(run, lambda: embed(run, arguments.fold, arguments.scale))


def embed(run: Stage, fold: int, scale: int) -> None:
    # Slow imports, which a process that only launches or forks others does not need.
    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.inference.embeddings import read_predicted, read_queries, write_embeddings
    from pipeline_lib.inference.opening import open_model
    from pipeline_lib.inference.query_bank import read_query_bank, write_query_bank
    from pipeline_lib.loading.products import as_arrays
    from pipeline_lib.params.embed import EmbedParams

    params, runtime = run.section(EmbedParams), read_runtime()
    with (
        join_process_group(pick_device(runtime.device)) as processes,
        metered(f"fold {fold} at {scale} px", is_first=processes.is_first) as meter,
    ):
        opened = open_model((fold, scale), params, runtime, processes, meter)
        identity = opened.fingerprint, opened.preprocessing
        table = read_predicted(paths.CATALOGUE, paths.FOLDS, paths.SHARDS / "manifest.parquet", fold)
        products = as_arrays(table, opened.classes)
        queries = read_queries(paths.CATALOGUE, products.ids)
        bank = read_query_bank(paths.CATALOGUE, paths.FOLDS, params.query_bank)
        banked = f" ({len(bank):,} in the bank)" * (len(bank) > 0)
        counts = f"{len(products):,} products and {len(queries):,} queries{banked}"
        meter.announce(f"{counts} by {opened.summary}")
        out = paths.embed_of(fold, scale)
        with fresh_folder(out) if processes.is_first else nullcontext(out) as target:
            write_embeddings(opened.predictor, products, queries, target, *identity)
            write_query_bank(opened.predictor, bank, target, *identity)


if __name__ == "__main__":
    run_stage("stages.embed", main)

"""Runs one fold's model over its held-out fold and the test split at one image size.

Runs in several processes if VITRINE_LAUNCH has a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse
from contextlib import nullcontext

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, read_runtime, resolve_precision
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import launched, launcher, relaunch
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.model import ModelParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--scale", type=int, required=True)
    arguments = parser.parse_args()
    with stage("stages.embed") as run:
        if launcher():
            relaunch("stages.embed")
            return
        with launched(run.check_unchanged):
            embed(run, arguments.fold, arguments.scale)


def embed(run: Stage, fold: int, scale: int) -> None:
    # Slow imports, which a process that only launches or forks others does not need.
    import polars as pl

    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.inference.embeddings import queries_for, write_embeddings
    from pipeline_lib.inference.engine import InferenceEngine
    from pipeline_lib.inference.predict import Predictor
    from pipeline_lib.inference.wise_ft import load_interpolated
    from pipeline_lib.loading.photo_views import PhotoViews
    from pipeline_lib.loading.products import as_arrays, read_products
    from pipeline_lib.models.scales import check_scale
    from pipeline_lib.shards.read import open_shards
    from pipeline_lib.transforms.image import preprocessing_fingerprint
    from pipeline_lib.transforms.tokenize import TextTokenizer

    params, runtime = run.section(EmbedParams), read_runtime()
    device, folder = pick_device(runtime.device), paths.train_of(fold)
    with join_process_group(device) as processes:
        saved = load_interpolated(folder, params.interpolation, run.section(ModelParams))
        check_scale(saved.model.image, scale)
        table = read_products(paths.CATALOGUE, paths.FOLDS, paths.SHARDS / "manifest.parquet").filter(
            (pl.col("fold") == fold) | (pl.col("split") == "test")
        )
        products = as_arrays(table, saved.card["description"]["classes"])
        precision = resolve_precision(params.precision, device, saved.model)
        engine = InferenceEngine(device, runtime.batch_size, runtime.workers, precision, processes)
        predictor = Predictor(
            model=saved.model.to(device),
            tokenizer=TextTokenizer(folder / "tokenizer"),
            views=PhotoViews(open_shards(paths.SHARDS, runtime.shards_url), scale),
            engine=engine,
            flip=params.flip,
            photo=params.photo,
        )
        tables = [pl.read_parquet(paths.CATALOGUE / f"{name}.parquet") for name in ("queries", "relevance")]
        image = saved.card["description"]["image"]
        preprocessing = preprocessing_fingerprint(scale, image["mean"], image["std"])
        queries, out = queries_for(products.ids, *tables), paths.embed_of(fold, scale)
        with fresh_folder(out) if processes.is_first else nullcontext(out) as folder:
            write_embeddings(predictor, products, queries, folder, saved.fingerprint, preprocessing)
        if processes.is_first:
            print(f"fold {fold} at {scale} px: {len(products)} products, {len(queries)} queries")


if __name__ == "__main__":
    run_stage("stages.embed", main)

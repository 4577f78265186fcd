"""Runs one fold's model over its held-out fold and the test split at one image size, over all photos and views."""

import argparse

import polars as pl

import pipeline_lib.openmp  # noqa: F401
from pipeline_lib import paths
from pipeline_lib.features.batches import PhotoViews
from pipeline_lib.features.embeddings import queries_for, write_embeddings
from pipeline_lib.features.encode import Engine
from pipeline_lib.features.predict import Predictor
from pipeline_lib.features.products import as_arrays, read_products
from pipeline_lib.models.interpolation import load_interpolated
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.prediction import EmbedParams
from pipeline_lib.provenance import fresh_folder, stage
from pipeline_lib.runtime import pick_device, pick_precision, read_runtime
from pipeline_lib.shards.read import open_shards
from pipeline_lib.transforms.image import preprocessing_fingerprint
from pipeline_lib.transforms.tokenize import TextTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--scale", type=int, required=True)
    arguments = parser.parse_args()
    with stage("stages.embed") as run:
        params, runtime = run.section(EmbedParams), read_runtime()
        folder = paths.train_of(arguments.fold)
        saved = load_interpolated(folder, params.interpolation, run.section(ModelParams))
        device = pick_device(runtime.device)
        seen = read_products(paths.CATALOGUE, paths.FOLDS, paths.SHARDS / "manifest.parquet").filter(
            (pl.col("fold") == arguments.fold) | (pl.col("split") == "test")
        )
        products = as_arrays(seen, saved.card["description"]["classes"])
        predictor = Predictor(
            model=saved.model.to(device),
            tokenizer=TextTokenizer(folder / "tokenizer"),
            views=PhotoViews(open_shards(paths.SHARDS, runtime.shards_url), arguments.scale),
            engine=Engine(device, runtime.batch_size, runtime.workers, pick_precision(params.precision, device)),
            flip=params.flip,
            photo=params.photo,
        )
        tables = [pl.read_parquet(paths.CATALOGUE / f"{name}.parquet") for name in ("queries", "relevance")]
        image = saved.card["description"]["image"]
        preprocessing = preprocessing_fingerprint(arguments.scale, image["mean"], image["std"])
        with fresh_folder(paths.embed_of(arguments.fold, arguments.scale)) as out:
            queries = queries_for(products.ids, *tables)
            write_embeddings(predictor, products, queries, out, saved.fingerprint, preprocessing)
        print(f"fold {arguments.fold} at {arguments.scale} px: {len(products)} products, {len(queries)} queries")


if __name__ == "__main__":
    main()

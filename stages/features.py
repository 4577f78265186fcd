"""Runs one frozen encoder over every photo and text, once, and keeps its features.

`--name trunk` is the model's own towers with the weights they begin with.
"""

import argparse

import polars as pl

import pipeline_lib.openmp  # noqa: F401
from pipeline_lib import paths
from pipeline_lib.features.encode import Engine
from pipeline_lib.features.trunk import extract_trunk, why_unstorable
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.prediction import FeaturesParams
from pipeline_lib.provenance import fresh_folder, stage
from pipeline_lib.runtime import pick_device, pick_precision, read_runtime
from pipeline_lib.shards.read import open_shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    name = parser.parse_args().name
    with stage("stages.features") as run:
        params, runtime = run.section(FeaturesParams), read_runtime()
        sources = resolve_towers(run.section(ModelParams))
        device = pick_device(runtime.device)
        precision = pick_precision(params.precision, device)
        engine = Engine(device, runtime.batch_size, runtime.workers, precision)
        photos = pl.read_parquet(paths.SHARDS / "manifest.parquet", columns=["product_id", "photo"])
        texts = [
            text
            for table in ("products", "queries")
            for text in pl.read_parquet(paths.CATALOGUE / f"{table}.parquet", columns=["text"])["text"]
        ]
        with fresh_folder(paths.features_of(name)) as out:
            extract_trunk(
                sources, open_shards(paths.SHARDS, runtime.shards_url), photos, texts, out, engine, params.dtype
            )
        reason = why_unstorable(sources)
        made = f"nothing is stored: {reason}" if reason else f"{len(photos)} photos and {len(set(texts))} texts"
        print(f"features of {name}: {made} -> {paths.features_of(name)}")


if __name__ == "__main__":
    main()

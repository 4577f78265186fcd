"""Runs one frozen encoder over every photo and text, once, and keeps its features.

`--name trunk` is the model's own towers with the weights they begin with, any other the teacher in data/starts/NAME.
"""

import argparse

import polars as pl

import pipeline_lib.openmp  # noqa: F401
from pipeline_lib import paths
from pipeline_lib.features.encode import Engine
from pipeline_lib.features.joint_space import why_apart
from pipeline_lib.features.teachers import extract_teacher
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.models.teacher import teacher_models
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.params.prediction import FeaturesParams
from pipeline_lib.provenance import fresh_folder, stage, write_json
from pipeline_lib.runtime import pick_device, pick_precision, read_runtime
from pipeline_lib.shards.read import open_shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    name = parser.parse_args().name
    with stage("stages.features") as run:
        params, runtime = run.section(FeaturesParams), read_runtime()
        device = pick_device(runtime.device)
        precision = pick_precision(params.precision, device)
        engine = Engine(device, runtime.batch_size, runtime.workers, precision)
        reader = open_shards(paths.SHARDS, runtime.shards_url)
        photos = pl.read_parquet(paths.SHARDS / "manifest.parquet", columns=["product_id", "photo"])
        texts = [
            text
            for table in ("products", "queries")
            for text in pl.read_parquet(paths.CATALOGUE / f"{table}.parquet", columns=["text"])["text"]
        ]
        # Names of classes are the prompts of the zero-shot baseline.
        labels = pl.read_parquet(paths.CATALOGUE / "products.parquet", columns=["label"])["label"]
        texts += labels.drop_nulls().unique().sort().to_list()
        layers = params.trunk.layers if params.trunk.at == "boundary" else 0
        with fresh_folder(paths.features_of(name)) as out:
            if name == TRUNK:
                sources = resolve_towers(run.section(ModelParams))
                extract_trunk(sources, reader, photos, texts, out, engine, params.dtype, layers, params.max_gb, print)
                write_json(out / "joint.json", {"why_apart": why_apart(sources)})
            else:
                own = pl.read_parquet(paths.CATALOGUE / "products.parquet", columns=["product_id", "text"])
                photos = photos.join(own, on="product_id", how="left", maintain_order="left")
                for teacher in teacher_models(paths.STARTS / name):
                    extract_teacher(teacher, reader, photos, texts, out / teacher.fold, engine, params.dtype)
        print(f"features of {name}: {len(photos)} photos and {len(set(texts))} texts -> {paths.features_of(name)}")


if __name__ == "__main__":
    main()

"""Runs one fold's model over its held-out fold and test at one image size; in several processes with VITRINE_LAUNCH."""

import argparse
from contextlib import nullcontext

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, read_runtime, resolve_precision
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import launched, launcher, relaunch
from pipeline_lib.execution.meter import stage_meter
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.plan import TRUNK


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
    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.inference.embeddings import read_predicted, read_queries, write_embeddings
    from pipeline_lib.inference.engine import InferenceEngine
    from pipeline_lib.inference.predict import Predictor, open_views
    from pipeline_lib.inference.query_bank import read_query_bank, write_query_bank
    from pipeline_lib.inference.stored_layers import find_stored_layers
    from pipeline_lib.inference.wise_ft import load_interpolated
    from pipeline_lib.loading.products import as_arrays
    from pipeline_lib.models.saved import read_card
    from pipeline_lib.towers.kinds import encoder_names
    from pipeline_lib.transforms.resizing import preprocessing_fingerprint
    from pipeline_lib.transforms.tokenize import TextTokenizer

    params, runtime = run.section(EmbedParams), read_runtime()
    device, folder, out = pick_device(runtime.device), paths.train_of(fold), paths.embed_of(fold, scale)
    with join_process_group(device) as processes:
        card = read_card(folder)
        image, text = (card["description"][tower] for tower in ("image", "text"))
        stored = find_stored_layers(card, paths.features_of(TRUNK), paths.views_of(scale), scale, params.flip)
        saved = load_interpolated(folder, params.interpolation, stored.dims())
        view = preprocessing_fingerprint(scale, image)
        table = read_predicted(paths.CATALOGUE, paths.FOLDS, paths.SHARDS / "manifest.parquet", fold)
        products = as_arrays(table, saved.card["description"]["classes"])
        precision = resolve_precision(params.precision, device, saved.model)
        meter = stage_meter(f"fold {fold} at {scale} px", processes.is_first)
        predictor = Predictor(
            model=saved.model.to(device),
            tokenizer=TextTokenizer(folder / "tokenizer"),
            views=None if stored.photos else open_views(image, scale, paths.SHARDS, runtime.shards_url),
            engine=InferenceEngine(device, runtime.batch_size, runtime.workers, precision, processes, meter),
            flip=params.flip,
            photo=params.photo,
            stored=stored,
        )
        queries = read_queries(paths.CATALOGUE, products.ids)
        bank = read_query_bank(paths.CATALOGUE, paths.FOLDS, params.query_bank)
        banked = f" ({len(bank):,} in the bank)" * (len(bank) > 0)
        counts = f"{len(products):,} products and {len(queries):,} queries{banked}"
        encoder = f"{encoder_names({**image, 'size': scale}, text)} on {device} in {precision}"
        meter.announce(", ".join([f"{counts} by {encoder}", *stored.messages]))
        with fresh_folder(out) if processes.is_first else nullcontext(out) as target:
            write_embeddings(predictor, products, queries, target, saved.fingerprint, view)
            write_query_bank(predictor, bank, target, saved.fingerprint, view)
        meter.finish()


if __name__ == "__main__":
    run_stage("stages.embed", main)

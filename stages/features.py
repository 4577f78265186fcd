"""Runs a frozen encoder over every photo and text, once, and stores its features.

`--name trunk` is the model's own towers with their weights before training, any other name the teacher in
data/starts/NAME. Runs in several processes if VITRINE_LAUNCH has a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse
from pathlib import Path

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, read_runtime, supports_bf16
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import launched, launcher, relaunch
from pipeline_lib.execution.meter import stage_meter
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.plan import planned_scales


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    name = parser.parse_args().name
    with stage("stages.features") as run:
        if launcher():
            relaunch("stages.features")
            return
        with launched(run.check_unchanged):
            features(run, name)


def features(run: Stage, name: str) -> None:
    # Slow imports, which a process that only launches others does not need.
    from pipeline_lib.execution.checkpoint import CheckpointFolder
    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.features.extract import extract, link_files
    from pipeline_lib.features.inputs import ExtractionRun, extraction_tables, read_extraction_inputs
    from pipeline_lib.inference.engine import InferenceEngine

    params, model, runtime = run.section(FeaturesParams), run.section(ModelParams), read_runtime()
    device = pick_device(runtime.device)
    with join_process_group(device) as processes:
        inputs = read_extraction_inputs(paths.CATALOGUE, paths.SHARDS, runtime.shards_url)
        tables = extraction_tables(paths.CATALOGUE)
        files = (*tables, paths.SHARDS, Path(model.weights_root), paths.STARTS / name)
        bf16 = supports_bf16(device)
        fingerprint = processes.broadcast_from_first(lambda: run.fingerprint(*files, name=name, bf16=bf16))
        meter = stage_meter(f"features of {name}", processes.is_first)
        engine = InferenceEngine(device, runtime.batch_size, runtime.workers, params.precision, processes, meter)
        with CheckpointFolder(fingerprint, processes.is_first) as checkpoints:
            extraction = ExtractionRun(engine, params.dtype, checkpoints.folder, meter.announce)
            stores = extract(name, inputs, params, model, extraction, planned_scales())
            if not processes.is_first:
                return
            with fresh_folder(paths.features_of(name)) as out:
                link_files(stores, out)
            checkpoints.finish()
        meter.finish(f" -> {paths.features_of(name)}")


if __name__ == "__main__":
    run_stage("stages.features", main)

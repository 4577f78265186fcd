"""Runs one frozen encoder over every photo and text, once, and keeps its features.

`--name trunk` is the model's own towers with the weights they begin with, any other the teacher in data/starts/NAME.
In several processes where VITRINE_LAUNCH names a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse
from pathlib import Path

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, pick_precision, read_runtime
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import launched, launcher, relaunch
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.model import ModelParams


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
    # Slow to import, and not for the process that only launches others.
    from pipeline_lib.execution.checkpoint import CheckpointFolder
    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.features.extract import extract, link_files, read_extraction_inputs
    from pipeline_lib.inference.engine import InferenceEngine

    params, model, runtime = run.section(FeaturesParams), run.section(ModelParams), read_runtime()
    device = pick_device(runtime.device)
    precision = pick_precision(params.precision, device)
    with join_process_group(device) as processes:
        seen = read_extraction_inputs(paths.CATALOGUE, paths.SHARDS, runtime.shards_url)
        read = (paths.CATALOGUE, paths.SHARDS, Path(model.weights_root), paths.STARTS / name)
        fingerprint = processes.broadcast_from_first(lambda: run.fingerprint(*read, name=name, precision=precision))
        engine = InferenceEngine(device, runtime.batch_size, runtime.workers, precision, processes)
        with CheckpointFolder(fingerprint, processes.first) as kept:
            made = extract(name, seen, params, model, kept.folder, engine, print)
            if not processes.first:
                return
            with fresh_folder(paths.features_of(name)) as out:
                link_files(made, out)
            kept.finish()
        count = len(set(seen.texts))
        print(f"features of {name}: {len(seen.photos)} photos and {count} texts -> {paths.features_of(name)}")


if __name__ == "__main__":
    run_stage("stages.features", main)

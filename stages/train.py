"""Trains the model of one fold: everything outside the fold trains, the fold itself is held out and measured.

In several processes where VITRINE_LAUNCH names a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

import pipeline_lib.openmp  # noqa: F401
from pipeline_lib import paths
from pipeline_lib.launch import launched, launcher, relaunch
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.plan import TRUNK, FeatureName
from pipeline_lib.params.training import LossesParams, TrainParams
from pipeline_lib.provenance import Stage, fresh_folder, stage
from pipeline_lib.runtime import pick_device, pick_precision, read_runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    fold = parser.parse_args().fold
    with stage("stages.train") as run:
        if launcher():
            relaunch("stages.train")
            return
        with launched(run.check_unchanged):
            train(run, fold)


def train(run: Stage, fold: int) -> None:
    # Slow to import, and not for the process that only launches others.
    from pipeline_lib.features.processes import joined
    from pipeline_lib.training.assembly import Settings
    from pipeline_lib.training.fold import train_fold
    from pipeline_lib.training.fold_data import Inputs

    runtime, params = read_runtime(), run.section(TrainParams)
    features = run.value("plan.features", list[FeatureName])
    device = pick_device(runtime.device)
    with joined(device) as processes:
        settings = Settings(
            model=run.section(ModelParams),
            losses=run.section(LossesParams),
            train=params,
            seed=run.value("seed", int),
            runtime=runtime,
            device=device,
            precision=pick_precision(params.precision, device),
        )
        teachers = {name: paths.features_of(name) for name in features if name != TRUNK}
        inputs = Inputs(paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.features_of(TRUNK), teachers)
        read = (paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES)
        begun_with = (Path(settings.model.weights_root), Path(params.init_from))
        fingerprint = processes.from_first(
            lambda: run.fingerprint(*read, *begun_with, fold=fold, precision=settings.precision)
        )
        out = paths.train_of(fold)
        with fresh_folder(out) if processes.first else nullcontext(out) as folder:
            train_fold(settings, inputs, fold, fingerprint, folder, processes)


if __name__ == "__main__":
    main()

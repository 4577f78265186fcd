"""Trains the model of one fold: everything outside the fold trains, the fold itself is held out and measured."""

import argparse
from pathlib import Path

import pipeline_lib.openmp  # noqa: F401
from pipeline_lib import paths
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.training import LossesParams, TrainParams
from pipeline_lib.provenance import fresh_folder, stage
from pipeline_lib.runtime import pick_device, pick_precision, read_runtime
from pipeline_lib.training.assembly import Settings
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import Inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    fold = parser.parse_args().fold
    with stage("stages.train") as run:
        runtime, train = read_runtime(), run.section(TrainParams)
        device = pick_device(runtime.device)
        settings = Settings(
            model=run.section(ModelParams),
            losses=run.section(LossesParams),
            train=train,
            seed=run.value("seed", int),
            runtime=runtime,
            device=device,
            precision=pick_precision(train.precision, device),
        )
        inputs = Inputs(paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.features_of("trunk"))
        read = (paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES)
        begun_with = (Path(settings.model.weights_root), Path(train.init_from))
        fingerprint = run.fingerprint(*read, *begun_with, fold=fold, precision=settings.precision)
        with fresh_folder(paths.train_of(fold)) as out:
            train_fold(settings, inputs, fold, fingerprint, out)


if __name__ == "__main__":
    main()

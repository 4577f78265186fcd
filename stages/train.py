"""Trains the model of one fold: everything outside the fold trains, the fold itself is held out and measured.

In several processes where VITRINE_LAUNCH names a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts import paths
from pipeline_lib.execution.device import pick_device, pick_precision, read_runtime
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import launched, launcher, relaunch
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.phases import LAST, Changes, train_params
from pipeline_lib.params.plan import FeatureName
from pipeline_lib.params.train import TrainParams


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
    from pipeline_lib.training.model_setup import RunConfig
    from pipeline_lib.training.phase import begun_after, train_phase

    runtime = read_runtime()
    params = train_params(run.section(TrainParams), run.value("phases.train", Changes), LAST)
    device = pick_device(runtime.device)
    settings = RunConfig(
        model=run.section(ModelParams),
        losses=run.section(LossesParams),
        train=begun_after(params, run.value("plan.last", str)),
        seed=run.value("seed", int),
        runtime=runtime,
        device=device,
        precision=pick_precision(params.precision, device),
    )
    features = run.value("plan.features", list[FeatureName])
    train_phase(run, settings, features, fold, paths.train_of(fold))


if __name__ == "__main__":
    run_stage("stages.train", main)

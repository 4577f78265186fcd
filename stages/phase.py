"""Trains one fold in a phase before the last: as stages.train does, with the phase's own changes to `train`."""

import argparse

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts import paths
from pipeline_lib.execution.device import pick_device, pick_precision, read_runtime
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import launched, launcher, relaunch
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.phases import Changes, train_params
from pipeline_lib.params.plan import FeatureName
from pipeline_lib.params.train import TrainParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--fold", type=int, required=True)
    asked = parser.parse_args()
    with stage("stages.phase") as run:
        if launcher():
            relaunch("stages.phase")
            return
        with launched(run.check_unchanged):
            train(run, asked.phase, asked.after, asked.fold)


def train(run: Stage, phase: str, after: str, fold: int) -> None:
    # Slow to import, and not for the process that only launches others.
    from pipeline_lib.training.model_setup import RunConfig
    from pipeline_lib.training.phase import begun_after, train_phase

    runtime = read_runtime()
    params = train_params(run.section(TrainParams), run.value(f"phases.{phase}", Changes), phase)
    device = pick_device(runtime.device)
    settings = RunConfig(
        model=run.section(ModelParams),
        losses=run.section(LossesParams),
        train=begun_after(params, after),
        seed=run.value("seed", int),
        runtime=runtime,
        device=device,
        precision=pick_precision(params.precision, device),
    )
    features = run.value("plan.features", list[FeatureName])
    train_phase(run, settings, features, fold, paths.phase_of(phase, fold))


if __name__ == "__main__":
    run_stage("stages.phase", main)

"""Trains the model of one fold in one phase: the fold is held out, products outside it are the training set.

dvc.yaml runs this script in two stages: `phase` trains the phases of plan.phases, `train` the last phase.
If VITRINE_LAUNCH names a launcher, e.g. `torchrun --nproc-per-node 2`, several processes train together.
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
    parser.add_argument("--phase", default=LAST, help="section of `phases` that changes `train`")
    parser.add_argument("--after", help="phase whose model this one starts from (default: plan.last)")
    arguments = parser.parse_args()
    with stage("stages.train") as run:
        if launcher():
            relaunch("stages.train")
            return
        with launched(run.check_unchanged):
            train(run, arguments.fold, arguments.phase, arguments.after)


def train(run: Stage, fold: int, phase: str, after: str | None) -> None:
    # Slow to import, and not needed by the process that only starts the launcher.
    from pipeline_lib.training.model_setup import RunConfig
    from pipeline_lib.training.phase import begun_after, train_phase

    runtime = read_runtime()
    params = train_params(run.section(TrainParams), run.value(f"phases.{phase}", Changes), phase)
    device = pick_device(runtime.device)
    settings = RunConfig(
        model=run.section(ModelParams),
        losses=run.section(LossesParams),
        train=begun_after(params, run.value("plan.last", str) if after is None else after),
        seed=run.value("seed", int),
        runtime=runtime,
        device=device,
        precision=pick_precision(params.precision, device),
    )
    features = run.value("plan.features", list[FeatureName])
    out = paths.train_of(fold) if phase == LAST else paths.phase_of(phase, fold)
    train_phase(run, settings, features, fold, out)


if __name__ == "__main__":
    run_stage("stages.train", main)

"""Trains the model of one fold in one phase: the fold is held out, products outside it are the training set.

dvc.yaml runs this script in two stages: `phase` trains the phases of plan.phases, `train` the last phase.
If VITRINE_LAUNCH names a launcher, e.g. `torchrun --nproc-per-node 2`, several processes train together.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, read_runtime, supports_bf16
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import in_processes
from pipeline_lib.execution.stage import Stage, stage


def main() -> None:
    # Slow to import.
    from pipeline_lib.params.phases import LAST
    from pipeline_lib.params.section import load_params
    from pipeline_lib.splitting.fused_predictions import refused_predictions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--phase", default=LAST, help="section of `phases` that changes `train`")
    parser.add_argument("--after", help="phase whose model this one starts from (default: plan.last)")
    arguments = parser.parse_args()
    with stage("stages.train") as run:
        # Fusion reads no model before all are trained, so it would refuse a folder of another catalogue last.
        if line := refused_predictions(load_params()):
            raise ValueError(line)
        in_processes(run, lambda: train(run, arguments.fold, arguments.phase, arguments.after))


def train(run: Stage, fold: int, phase: str, after: str | None) -> None:
    # Slow to import, and not needed by the process that only starts the launcher.
    from pipeline_lib.execution.process_group import join_process_group
    from pipeline_lib.inference.warm_start import start_folder
    from pipeline_lib.params.losses import LossesParams
    from pipeline_lib.params.model import ModelParams
    from pipeline_lib.params.phases import LAST, Changes, continued, train_params
    from pipeline_lib.params.plan import TRUNK, TeacherName, planned_scales
    from pipeline_lib.params.train import TrainParams
    from pipeline_lib.training.fold import train_fold
    from pipeline_lib.training.fold_data import Inputs
    from pipeline_lib.training.run_start import RunConfig

    changes: Changes = run.value(f"phases.{phase}", Changes)
    params = train_params(run.section(TrainParams), changes, phase)
    after = run.value("plan.last", str) if after is None else after
    if after != paths.NO_PHASE:
        params = continued(params, changes, (paths.PHASES / after).as_posix())
    teachers = run.value("plan.teachers", list[TeacherName])
    inputs = Inputs(
        catalogue=paths.CATALOGUE,
        folds=paths.FOLDS,
        shards=paths.SHARDS,
        trunk=paths.features_of(TRUNK),
        teachers={name: paths.features_of(name) for name in teachers},
        start=start_folder(params.init_from, fold),
    )
    model, losses = run.section(ModelParams), run.section(LossesParams)
    runtime, out = read_runtime(), paths.train_of(fold) if phase == LAST else paths.phase_of(phase, fold)
    device = pick_device(runtime.device)
    with join_process_group(device) as processes:
        config = RunConfig(model, losses, params, runtime, device, processes, planned_scales())
        files = [*inputs.tables(), paths.SHARDS, paths.FEATURES, Path(model.weights_root)]
        files += [inputs.start] if inputs.start else []
        identity = {"fold": fold, "out": out.as_posix(), "bf16": supports_bf16(device)}
        fingerprint = processes.broadcast_from_first(lambda: run.fingerprint(*files, **identity))
        with fresh_folder(out) if processes.is_first else nullcontext(out) as folder:
            train_fold(config, inputs, fold, fingerprint, folder)


if __name__ == "__main__":
    run_stage("stages.train", main)

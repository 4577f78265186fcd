"""One phase of one fold, as the stages `phase` and `train` run it: where it begins, and who it is."""

from contextlib import nullcontext
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.process_group import join_process_group
from pipeline_lib.execution.stage import Stage
from pipeline_lib.models.warm_start import start_folder
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.model_setup import RunConfig


def begun_after(train: TrainParams, after: str) -> TrainParams:
    """Return a phase's params with the phase before it as its start; the first one keeps `train.init_from`."""
    if after == paths.NO_PHASE:
        return train
    return train.model_copy(update={"init_from": (paths.PHASES / after).as_posix()})


def train_phase(run: Stage, settings: RunConfig, features: list[str], fold: int, out: Path) -> None:
    """Train one fold into `out`, in all processes that were started for it; `features` are those of the plan."""
    teachers = {name: paths.features_of(name) for name in features if name != TRUNK}
    inputs = Inputs(paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.features_of(TRUNK), teachers)
    with join_process_group(settings.device) as processes:
        read = (paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES, Path(settings.model.weights_root))
        begun = start_folder(settings.train.init_from, fold) or Path(settings.train.init_from)
        fingerprint = processes.broadcast_from_first(
            lambda: run.fingerprint(*read, begun, fold=fold, out=out.as_posix(), precision=settings.precision)
        )
        with fresh_folder(out) if processes.is_first else nullcontext(out) as folder:
            train_fold(settings, inputs, fold, fingerprint, folder, processes)

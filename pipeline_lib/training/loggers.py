"""Where the curves of a training go: TensorBoard, MLflow, Weights & Biases or Trackio behind one small face.

All write below logs/, outside DVC's outs, unless the environment variable of a library names another place
(MLFLOW_TRACKING_URI, WANDB_MODE and WANDB_DIR, TRACKIO_DIR). A library is imported only if runtime.logger names it.
"""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.params.runtime import LoggerKind

PROJECT = "vitrine"
# The steps of W&B and Trackio themselves count calls, so a step of the optimizer is a value beside the others.
STEP = "optimizer_step"


class CurveLogger(Protocol):
    """Takes the values of epochs and of optimizer steps, which are counted apart; names may have `@` and `/`."""

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add the values of an epoch."""

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add the values of one optimizer step."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoardLogger:
    """Event files in logs/tensorboard/NAME and NAME/steps; what an interrupted run wrote later is hidden.

    `purge_step` hides the values of all curves of a folder from one number on, so epochs and steps have a folder each.
    """

    def __init__(self, name: str, root: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer, self._folder = SummaryWriter, root / "tensorboard" / name
        self._epochs = SummaryWriter(self._folder, purge_step=start)
        self._steps: SummaryWriter | None = None

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add one scalar a value."""
        for key, value in values.items():
            self._epochs.add_scalar(key, value, epoch)
        self._epochs.flush()

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add one scalar a value, below `step/`."""
        if self._steps is None:
            self._steps = self._writer(self._folder / "steps", purge_step=step)
        for key, value in values.items():
            self._steps.add_scalar(f"step/{key}", value, step)

    def close(self) -> None:
        """Close the event files."""
        self._epochs.close()
        if self._steps is not None:
            self._steps.close()


class MlflowLogger:
    """A run of the experiment `vitrine` in logs/mlflow/mlflow.db; `R@1` is `R_at_1`, because MLflow allows no `@`."""

    def __init__(self, name: str, root: Path, start: int) -> None:
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            (root / "mlflow").mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{(root / 'mlflow' / 'mlflow.db').resolve()}")
        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(experiment, run_name=name, tags={"first_epoch": str(start)}).info.run_id

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add one metric a value."""
        for key, value in values.items():
            self._client.log_metric(self._run, key.replace("@", "_at_"), value, step=epoch)

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add one metric a value, below `step/`."""
        self.epoch({f"step/{key}": value for key, value in values.items()}, step)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)


class RowLogger:
    """Rows with their epoch or step as a value beside the others, because the own steps of a library never go back."""

    def __init__(self, log: Callable[[dict[str, float]], object], finish: Callable[[], object]) -> None:
        self._log, self._finish = log, finish

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add the values beside their epoch."""
        self._log({**values, "epoch": epoch})

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add the values below `step/` beside their step."""
        self._log({**{f"step/{key}": value for key, value in values.items()}, STEP: step})

    def close(self) -> None:
        """Write the rest and end the run."""
        self._finish()


def wandb_logger(name: str, root: Path, start: int) -> RowLogger:
    """Return a run of the project `vitrine` in logs/wandb: offline unless WANDB_MODE says otherwise."""
    import wandb

    folder = Path(os.environ.get("WANDB_DIR", root))
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(silent=True)
    mode: Any = os.environ.get("WANDB_MODE", "offline")
    run = wandb.init(
        project=PROJECT, name=name, dir=folder, mode=mode, config={"first_epoch": start}, settings=settings
    )
    run.define_metric("*", step_metric="epoch")
    run.define_metric("step/*", step_metric=STEP)
    return RowLogger(run.log, run.finish)


def trackio_logger(name: str, root: Path, start: int) -> RowLogger:
    """Return a run of the project `vitrine` in the SQLite files of logs/trackio; `trackio show` opens them."""
    os.environ.setdefault("TRACKIO_DIR", str((root / "trackio").resolve()))  # read when trackio is imported
    import trackio

    trackio.init(project=PROJECT, name=name, config={"first_epoch": start}, auto_log_cpu=False, auto_log_gpu=False)
    return RowLogger(trackio.log, trackio.finish)


# runtime.logger, the module that it needs -> builder of (name of the run, folder of all logs, number of epochs that an
# interrupted run has done).
LOGGERS: dict[LoggerKind, Callable[[str, Path, int], CurveLogger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MlflowLogger,
    "wandb": wandb_logger,
    "trackio": trackio_logger,
}


def check_installed(kind: LoggerKind) -> None:
    """Raise ValueError if the library of a logger is not installed; nothing is imported."""
    if find_spec(kind) is None:
        raise ValueError(
            f"params.yaml: runtime.logger = {kind!r}, which is not installed: pip install 'vitrine[{kind}]', or set it "
            "to tensorboard"
        )

"""Where the curves of a training go: TensorBoard, MLflow, Weights & Biases or Trackio behind one small face.

All write below logs/, outside DVC's outs, unless the environment variable of a library names another place
(MLFLOW_TRACKING_URI, WANDB_MODE and WANDB_DIR, TRACKIO_DIR). A library is imported only if runtime.logger names it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.params.runtime import LoggerKind

PROJECT = "vitrine"
# The steps of W&B and Trackio themselves count calls, so a step of the optimizer is a value beside the others.
STEP = "optimizer_step"
# Kind -> module that it needs.
MODULES: dict[LoggerKind, str] = {
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "trackio": "trackio",
}


class CurveLogger(Protocol):
    """Takes the values of epochs and of optimizer steps, which are counted apart; names may have `@` and `/`."""

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add the values of an epoch."""

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add the values of one optimizer step."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoardLogger:
    """Event files in logs/tensorboard/NAME; `start` hides what an interrupted run wrote from that epoch on."""

    def __init__(self, name: str, root: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(root / "tensorboard" / name, purge_step=start)

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add one scalar a value."""
        for key, value in values.items():
            self._board.add_scalar(key, value, epoch)
        self._board.flush()

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add one scalar a value, below `step/`."""
        for key, value in values.items():
            self._board.add_scalar(f"step/{key}", value, step)

    def close(self) -> None:
        """Close the event file."""
        self._board.close()


class MlflowLogger:
    """A run of the experiment `vitrine` in logs/mlflow/mlflow.db; `R@1` is `R_at_1`, because MLflow allows no `@`.

    A server that does not answer costs curves, not the training: the first failure is a line on stderr.
    """

    def __init__(self, name: str, root: Path, start: int) -> None:
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            (root / "mlflow").mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{(root / 'mlflow' / 'mlflow.db').resolve()}")
        self._error: type[Exception] = mlflow.exceptions.MlflowException
        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(experiment, run_name=name, tags={"first_epoch": str(start)}).info.run_id
        self._failed = False

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add one metric a value."""
        self._log(values, epoch)

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add one metric a value, below `step/`."""
        self._log({f"step/{key}": value for key, value in values.items()}, step)

    def close(self) -> None:
        """End the run."""
        self._try(lambda: self._client.set_terminated(self._run))

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            name = key.replace("@", "_at_")
            self._try(partial(self._client.log_metric, self._run, name, value, step=step))

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except self._error as error:
            if not self._failed:
                sys.stderr.write(f"mlflow: {' '.join(str(error).split())[:200]}; the curves of this run have gaps\n")
            self._failed = True


class WandbLogger:
    """A run of the project `vitrine` in logs/wandb: offline unless WANDB_MODE says otherwise, `wandb sync` sends it."""

    def __init__(self, name: str, root: Path, start: int) -> None:
        import wandb

        folder = Path(os.environ.get("WANDB_DIR", root))
        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(silent=True)
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=PROJECT, name=name, dir=folder, mode=mode, config={"first_epoch": start}, settings=settings
        )
        self._run.define_metric("*", step_metric="epoch")
        self._run.define_metric("step/*", step_metric=STEP)

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add the values beside their epoch, because the steps of W&B itself must never go back."""
        self._run.log({**values, "epoch": epoch})

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add the values below `step/` beside their step."""
        self._run.log({**{f"step/{key}": value for key, value in values.items()}, STEP: step})

    def close(self) -> None:
        """Write the rest and end the run."""
        self._run.finish()


class TrackioLogger:
    """A run of the project `vitrine` in the SQLite files of logs/trackio; `trackio show` opens them."""

    def __init__(self, name: str, root: Path, start: int) -> None:
        os.environ.setdefault("TRACKIO_DIR", str((root / "trackio").resolve()))  # read when trackio is imported
        import trackio

        self._trackio = trackio
        trackio.init(project=PROJECT, name=name, config={"first_epoch": start}, auto_log_cpu=False, auto_log_gpu=False)

    def epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Add the values beside their epoch."""
        self._trackio.log({**values, "epoch": epoch})

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Add the values below `step/` beside their step."""
        self._trackio.log({**{f"step/{key}": value for key, value in values.items()}, STEP: step})

    def close(self) -> None:
        """Write the rest and end the run."""
        self._trackio.finish()


# runtime.logger -> builder of (name of the run, folder of all logs, number of epochs that an interrupted run has done).
LOGGERS: dict[LoggerKind, Callable[[str, Path, int], CurveLogger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MlflowLogger,
    "wandb": WandbLogger,
    "trackio": TrackioLogger,
}


def check_installed(kind: LoggerKind) -> None:
    """Raise ValueError if the library of a logger is not installed; nothing is imported."""
    if find_spec(MODULES[kind]) is None:
        raise ValueError(
            f"params.yaml: runtime.logger = {kind!r}, which is not installed: pip install 'vitrine[{kind}]', or set it "
            "to tensorboard"
        )

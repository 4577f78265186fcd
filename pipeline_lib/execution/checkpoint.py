"""Checkpoints of a run: a locked folder outside DVC's outs, named by the run's fingerprint.

DVC removes a stage's outs before it runs, and with `persist: true` a run would resume after a param changed. The folder
stays when the run ends, because DVC has not recorded the outs yet; `checkpoint_runs` says when it is removed.
"""

import sys
from pathlib import Path
from typing import Any, Self, TextIO

import torch

from pipeline_lib.artifacts.io import writing
from pipeline_lib.execution.checkpoint_runs import (
    DONE,
    begin_run,
    checkpoint_base,
    lock_folder,
    message_on_others,
    remove_superseded,
)


class CheckpointFolder:
    """One run's folder under `$DVC_ROOT/.ckpt`, locked until the context ends; ValueError if it is already locked.

    `out` is the folder of the run's outs as dvc.yaml names it. In a process group only rank 0 `writes` and locks the
    folder; the other ranks read its checkpoints.
    """

    def __init__(self, fingerprint: str, writes: bool = True, out: Path | None = None) -> None:
        self.folder = checkpoint_base() / fingerprint
        self._lock: TextIO | None = None
        if not writes:
            return
        self._lock = lock_folder(self.folder)
        if self._lock is None:
            raise ValueError(f"{self.folder}: another process is training the same run; wait for it, or end it")
        begin_run(self.folder, out)
        if message := message_on_others(self.folder):
            sys.stderr.write(f"{message}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock:
            self._lock.close()

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write one state; if the process is killed meanwhile, the previous state remains."""
        if not self._lock:
            return
        part = self.folder / f"{name}.part"
        with writing(part):
            torch.save(state, part)
        part.replace(self.folder / name)

    def load(self, name: str) -> dict[str, Any] | None:
        """Return a saved state, or None if there is none."""
        path = self.folder / name
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return state

    def finish(self) -> None:
        """Mark the run as finished, so that a later stage may remove the folder, and remove finished runs before it."""
        if self._lock:
            (self.folder / DONE).touch()
            remove_superseded(self.folder)

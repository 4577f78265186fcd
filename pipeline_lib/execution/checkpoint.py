"""Checkpoints of a run: a locked folder outside DVC's outs, named by the run's fingerprint.

DVC removes a stage's outs before it runs, and with `persist: true` a run would resume after a param changed. The folder
stays when the run ends, because DVC has not recorded the outs yet. A later run of another fingerprint removes it.
"""

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Any, Self, TextIO

import torch

from pipeline_lib.artifacts.io import writing

RETENTION_SECONDS = 3600


class CheckpointFolder:
    """One run's folder under `$DVC_ROOT/.ckpt`, locked until the context ends; ValueError if it is already locked.

    In a process group only rank 0 `writes` and locks the folder; the other ranks read its checkpoints.
    """

    def __init__(self, fingerprint: str, writes: bool = True) -> None:
        base = Path(os.environ.get("VITRINE_CHECKPOINTS") or Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt")
        self.folder = base / fingerprint
        self._lock: TextIO | None = None
        if not writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "LOCK").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ValueError(
                f"{self.folder}: another process is training the same run; wait for it, or end it"
            ) from None
        self._remove_finished(base)

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
        """Mark the run as finished, so that a later run may remove the folder."""
        if self._lock:
            (self.folder / "DONE").touch()

    def _remove_finished(self, base: Path) -> None:
        for mark in base.glob("*/DONE"):
            if mark.parent != self.folder and time.time() - mark.stat().st_mtime > RETENTION_SECONDS:
                shutil.rmtree(mark.parent, ignore_errors=True)

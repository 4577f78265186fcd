"""Where a killed run goes on: a locked folder outside DVC's outs, named by the run's fingerprint.

DVC removes a stage's outs before it runs, and `persist: true` would resume after a param changed. The folder is kept
when the run ends (DVC has not recorded the outs yet) and removed by a later run that is not its own.
"""

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Any, Self, TextIO

import torch

from pipeline_lib.artifacts.io import writing

KEPT_SECONDS = 3600


class CheckpointFolder:
    """One run's folder under `$DVC_ROOT/.ckpt`, locked until it is left; ValueError if another process holds it.

    With several processes only the first one `writes` and holds the lock; the others read what it has saved.
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
                f"{self.folder}: another process is training this very run; wait for it, or end it"
            ) from None
        self._remove_finished(base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock:
            self._lock.close()

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write one state; a kill leaves the former one whole."""
        if not self._lock:
            return
        half = self.folder / f"{name}.part"
        with writing(half):
            torch.save(state, half)
        half.replace(self.folder / name)

    def load(self, name: str) -> dict[str, Any] | None:
        """Return a saved state, or None if there is none."""
        path = self.folder / name
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return state

    def finish(self) -> None:
        """Mark the run as ended, so that a later one may remove the folder."""
        if self._lock:
            (self.folder / "DONE").touch()

    def _remove_finished(self, base: Path) -> None:
        for mark in base.glob("*/DONE"):
            if mark.parent != self.folder and time.time() - mark.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(mark.parent, ignore_errors=True)

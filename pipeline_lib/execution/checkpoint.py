"""Checkpoints of a run: a locked folder outside DVC's outs, named by the run's fingerprint.

DVC removes a stage's outs before it runs, and with `persist: true` a run would resume after a param changed. The folder
stays when the run ends, because DVC has not recorded the outs yet; `checkpoint_runs` says when it is removed.
"""

import sys
from pathlib import Path
from typing import Self, TextIO

from pipeline_lib.execution.checkpoint_files import State, previous_of, read_checkpoint, write_checkpoint
from pipeline_lib.execution.checkpoint_runs import (
    DONE,
    LOCK,
    begin_run,
    checkpoint_base,
    lock_folder,
    message_on_others,
    remove_superseded,
)
from pipeline_lib.execution.locks import holder, release, wait_for_lock

LAST, BEST = "last.pt", "best.pt"


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
        self._lock = wait_for_lock(lambda: lock_folder(self.folder))  # that of a killed run is free in seconds
        if self._lock is None:
            raise ValueError(f"{self.folder}: {holder(self.folder / LOCK)} does the same run; wait for it, or end it")
        begin_run(self.folder, out)
        if message := message_on_others(self.folder):
            sys.stderr.write(f"{message}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock:
            release(self._lock)

    def save_last(self, state: State) -> None:
        """Write the state that the next epoch starts from; the one before it stays, in case this one is damaged."""
        if self._lock:
            write_checkpoint(self.folder / LAST, state, keep_previous=True)

    def save_best(self, state: State) -> None:
        """Write the weights of the best epoch so far; if the process is killed meanwhile, the earlier ones remain."""
        if self._lock:
            write_checkpoint(self.folder / BEST, state, keep_previous=False)

    def load_last(self) -> State | None:
        """Return the state that the next epoch starts from: the last sound one, None if there is none."""
        return read_checkpoint(self.folder / LAST, self._lock is not None)

    def load_best(self) -> State:
        """Return the weights of the best epoch; ValueError if they are damaged: the next run then starts again."""
        state = read_checkpoint(self.folder / BEST, self._lock is not None)
        if state is not None:
            return state
        if self._lock:
            for file in (self.folder / LAST, previous_of(self.folder / LAST)):
                file.unlink(missing_ok=True)
        raise ValueError(
            f"{self.folder / BEST}: the weights of the best epoch are missing or damaged; run `dvc repro` again, it "
            "trains from the first epoch"
        )

    def finish(self) -> None:
        """Mark the run as finished, so that a later stage may remove the folder, and remove finished runs before it."""
        if self._lock:
            (self.folder / DONE).touch()
            remove_superseded(self.folder)

"""Whether a further stage fits into memory: what is available now against the peak of the last stage of its kind.

The kind of a stage is its name without the item of its matrix: `train` of `train@0`. Peaks are measured while stages
run, and saved in .dvc/tmp/vitrine/memory.json. Shared pages count for no stage, so forks of one server are not counted
twice.
"""

from collections.abc import Mapping
from pathlib import Path

import psutil

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_json

# The part of the available memory that unseen kinds share; the rest is for other processes.
USABLE = 0.8
FILE = Path(".dvc/tmp/vitrine/memory.json")


class StageMemory:
    """Peaks in bytes by kind of stage. An unseen kind counts as its share of what is available before the first one."""

    def __init__(self, jobs: int, file: Path = FILE) -> None:
        self._file = file
        self._share = int(psutil.virtual_memory().available * USABLE / jobs)
        self._known: dict[str, int] = read_json(file, dict[str, int]) if file.is_file() else {}
        self._peaks: dict[str, int] = {}

    def expected(self, stage: str) -> int:
        """Return the bytes that a stage will need."""
        kind = kind_of(stage)
        return max(self._known.get(kind, self._share if kind not in self._peaks else 0), self._peaks.get(kind, 0))

    def observe(self, stage: str, used: int) -> None:
        """Record the bytes that a running stage uses now."""
        kind = kind_of(stage)
        self._peaks[kind] = max(self._peaks.get(kind, 0), used)

    def end(self, stage: str) -> None:
        """Record that a stage has ended: its peak replaces that of earlier runs."""
        kind = kind_of(stage)
        if kind in self._peaks:
            self._known[kind] = self._peaks[kind]

    def fits(self, stage: str, running: Mapping[str, int], available: int | None = None) -> bool:
        """Return whether a stage fits beside the running ones, each with the bytes that it uses now."""
        available = psutil.virtual_memory().available if available is None else available
        still_to_come = sum(max(0, self.expected(name) - used) for name, used in running.items())
        return self.expected(stage) + still_to_come <= available

    def save(self) -> None:
        """Write the peaks for the next run."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self._file, self._known)


def kind_of(stage: str) -> str:
    """Return the name of a stage without the item of its matrix.

    >>> kind_of("embed@0-64"), kind_of("data/sample/dvc.yaml:products")
    ('embed', 'data/sample/dvc.yaml:products')
    """
    return stage.partition("@")[0]

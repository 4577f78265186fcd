"""Finds out that `dvc repro` has replaced files since the server opened those beside them.

What is read later belongs to another run then: another model's picture would be searched for among vectors that it did
not make. Such an answer is an error, and a restart opens everything anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from pipeline_lib.execution.declared_inputs import FileState, file_state
from pipeline_lib.models.saved import read_card

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class ReplacedError(ValueError):
    """What would be read is not of the run that the server opened; the line says to restart it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.args[0]}: replaced or removed since the server started; restart it when `dvc repro` is done"


class HasFingerprint(Protocol):
    """A loaded model."""

    @property
    def fingerprint(self) -> str:
        """Identity of description and weights."""


ModelT = TypeVar("ModelT", bound=HasFingerprint)


def load_same(load: Callable[[], ModelT], folder: Path, fingerprint: str, what: str) -> ModelT:
    """Return load() of a model's folder; ReplacedError if the model there is not that of the fingerprint."""
    _check_card(folder, fingerprint, what)  # a large model of another run need not be read
    try:
        loaded = load()
    except (ValueError, OSError):
        _check_card(folder, fingerprint, what)  # replaced while it was read
        raise
    if loaded.fingerprint != fingerprint:
        raise ReplacedError(what)
    return loaded


def _check_card(folder: Path, fingerprint: str, what: str) -> None:
    try:
        found = read_card(folder)["fingerprint"]
    except (ValueError, OSError) as error:  # it could be read when the server started
        raise ReplacedError(what) from error
    if found != fingerprint:
        raise ReplacedError(what)


def state_of(path: Path) -> FileState | None:
    """Return the state of a file, None if there is none."""
    try:
        return file_state(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None

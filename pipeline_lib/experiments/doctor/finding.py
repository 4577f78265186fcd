"""What `vitrine doctor` finds: a level, what it means, and what to do about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

OK, NOTE, PROBLEM = "ok", "note", "problem"
# All settings of params.yaml, sections first.
Params = Mapping[str, Any]

FactsT = TypeVar("FactsT")


@dataclass(frozen=True)
class Finding:
    """One line of the result; `level` is ok, note or problem, `action` is empty if there is nothing to do."""

    level: str
    message: str
    action: str = ""


@dataclass(frozen=True)
class Check(Generic[FactsT]):
    """A check in two halves: `read` gets facts from the project and the machine, the pure `judge` says what they mean.

    `read` gets the project's folder and its params.
    """

    name: str
    read: Callable[[Path, Params], FactsT]
    judge: Callable[[FactsT], list[Finding]]
    needs_params: bool = False

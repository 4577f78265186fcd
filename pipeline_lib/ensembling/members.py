"""The members of an ensemble: what one fold's model said at one scale.

Only members named by fold and scale are opened. Folders of folds or scales that were once listed stay on disk, and
reading all that is there would mix them in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store


@dataclass(frozen=True)
class Member:
    """Open stores of one fold and scale; what the model has no head for is None, and `classes` is then empty."""

    folder: Path
    fold: int
    scale: int
    products: FeatureStore | None
    queries: FeatureStore | None
    probabilities: FeatureStore | None
    classes: list[str]


def open_members(folder_of: Callable[[int, int], Path], folds: Sequence[int], scales: Sequence[int]) -> list[Member]:
    """Open every listed member, fold by fold; ValueError if one is missing or has other heads or classes."""
    members = [_open_member(folder_of(fold, scale), fold, scale) for fold in folds for scale in scales]
    first = members[0]
    for member in members[1:]:
        if member.classes != first.classes:
            raise ValueError(
                f"{member.folder}: {len(member.classes)} classes that are not the {len(first.classes)} of "
                f"{first.folder} in the same order; their probabilities cannot be averaged: run `dvc repro`"
            )
        for part in ("products", "queries", "probabilities"):
            if (_part(member, part) is None) != (_part(first, part) is None):
                lacking, having = (member, first) if _part(member, part) is None else (first, member)
                raise ValueError(f"{lacking.folder}: no {part}, but {having.folder} has them; run `dvc repro`")
    return members


def _part(member: Member, part: str) -> FeatureStore | None:
    return {"products": member.products, "queries": member.queries, "probabilities": member.probabilities}[part]


def _open_member(folder: Path, fold: int, scale: int) -> Member:
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: fold {fold} at scale {scale} is listed in plan but was not embedded; run `dvc repro`, or take "
            "it off plan.folds or plan.scales"
        )
    probabilities = _open_if_there(folder / "probabilities")
    return Member(
        folder,
        fold,
        scale,
        products=_open_if_there(folder / "products"),
        queries=_open_if_there(folder / "queries"),
        probabilities=probabilities,
        classes=read_json(folder / "classes.json") if probabilities else [],
    )


def _open_if_there(folder: Path) -> FeatureStore | None:
    return open_store(folder) if (folder / HEADER).is_file() else None

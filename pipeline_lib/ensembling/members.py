"""The members of an ensemble: the embeddings and probabilities of one fold's model at one scale.

Only the listed folds and scales are opened. Folders of folds or scales that were listed earlier stay on disk, so
reading every folder would add stale members.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.artifacts.paths import QUERY_BANK
from pipeline_lib.artifacts.read import read_json
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store


@dataclass(frozen=True)
class Member:
    """Open stores of one fold and scale. A store is None if the model has no head for it; `classes` is then empty.

    `bank` has the training texts of embed.query_bank, None without them.
    """

    folder: Path
    fold: int
    scale: int
    products: FeatureStore | None
    queries: FeatureStore | None
    probabilities: FeatureStore | None
    bank: FeatureStore | None
    classes: list[str]


def open_members(folder_of: Callable[[int, int], Path], folds: Sequence[int], scales: Sequence[int]) -> list[Member]:
    """Open every listed member, fold by fold; ValueError if one is missing or differs in heads or classes."""
    members = [_open_member(folder_of(fold, scale), fold, scale) for fold in folds for scale in scales]
    first = members[0]
    for member in members[1:]:
        if member.classes != first.classes:
            raise ValueError(
                f"{member.folder}: its {len(member.classes)} classes differ in names or order from the "
                f"{len(first.classes)} of {first.folder}; their probabilities cannot be averaged: run `dvc repro`"
            )
        for part in ("products", "queries", "probabilities", "bank"):
            if (_part(member, part) is None) != (_part(first, part) is None):
                without, other = (member, first) if _part(member, part) is None else (first, member)
                raise ValueError(f"{without.folder}: no {part}, but {other.folder} has them; run `dvc repro`")
    return members


def _part(member: Member, part: str) -> FeatureStore | None:
    stores = {"products": member.products, "queries": member.queries, "probabilities": member.probabilities}
    return (stores | {"bank": member.bank})[part]


def _open_member(folder: Path, fold: int, scale: int) -> Member:
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: fold {fold} at scale {scale} is listed in plan but was not embedded; run `dvc repro`, or "
            "remove it from plan.folds or plan.scales"
        )
    probabilities = _open_optional(folder / "probabilities")
    return Member(
        folder,
        fold,
        scale,
        products=_open_optional(folder / "products"),
        queries=_open_optional(folder / "queries"),
        probabilities=probabilities,
        bank=_open_optional(folder / QUERY_BANK),
        classes=read_json(folder / "classes.json", list[str]) if probabilities else [],
    )


def _open_optional(folder: Path) -> FeatureStore | None:
    return open_store(folder) if (folder / HEADER).is_file() else None

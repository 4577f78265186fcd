"""Tells which column of a table is what: the names that shops use, unless params name others."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.params.data import ColumnParams

# Usual names in order of preference, compared without regard to case.
USUAL = {
    "id": ("id", "product_id", "item_id", "sku"),
    "label": ("categories", "label", "category"),
    "image": ("image", "image_path", "images"),
    "group": ("group", "group_id"),
    "fold": ("fold",),
    "split": ("split",),
}
TEXTS = (("title", "description"), ("text",))
# What a split may be called in a table -> ours.
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Columns:
    """The table's own names of its columns; None where it has none."""

    id: str
    label: str | None
    text: tuple[str, ...]
    image: str | None
    group: str | None
    fold: str | None
    split: str | None

    def used(self) -> list[str]:
        """Return every column that is read, once."""
        single = [self.id, self.label, *self.text, self.image, self.group, self.fold, self.split]
        return list(dict.fromkeys(name for name in single if name is not None))


def resolve_columns(table: str, header: Sequence[str], wanted: ColumnParams) -> Columns:
    """Return the columns to read; ValueError, listing those found, if one is missing or named twice."""
    by_lower: dict[str, str] = {}
    for name in header:
        by_lower.setdefault(name.lower(), name)

    def usual(role: str) -> str | None:
        return next((by_lower[name] for name in USUAL[role] if name in by_lower), None)

    found = f"columns found: {', '.join(name or '(no name)' for name in header)}"
    named = {"id": wanted.id, "label": wanted.label, "image": wanted.image}
    named |= {"group": wanted.group, "fold": wanted.fold, "split": wanted.split}
    texts = (wanted.text,) if isinstance(wanted.text, str) else tuple(wanted.text or ())
    for role, given in [*named.items(), *(("text", text) for text in texts)]:
        if given is not None and given not in header:
            raise ValueError(f"{table}: no column {given!r}, which data.columns.{role} names; {found}")
    chosen = {role: name or usual(role) for role, name in named.items()}
    product_id = chosen.pop("id")
    if product_id is None:
        raise ValueError(
            f"{table}: no id column ({', '.join(USUAL['id'])}); {found}. "
            "Name it in data.columns.id; columns must be parted by commas"
        )
    if not texts:
        parts = [tuple(by_lower[name] for name in names if name in by_lower) for names in TEXTS]
        texts = next((part for part in parts if part), ())
    columns = Columns(id=product_id, text=texts, **chosen)
    for name in columns.used():
        if sum(other.lower() == name.lower() for other in header) > 1:
            raise ValueError(f"{table}: column {name!r} occurs twice; rename one; {found}")
    return columns

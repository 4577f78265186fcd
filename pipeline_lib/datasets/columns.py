"""Finds the columns of a table by the names that params give, or else by common names."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.params.data import ColumnParams

# Common names in order of preference; case is ignored.
USUAL = {
    "id": ("id", "product_id", "item_id", "sku"),
    "label": ("categories", "label", "category"),
    "image": ("image", "image_path", "images"),
    "group": ("group", "group_id"),
    "fold": ("fold",),
    "split": ("split",),
}
TEXTS = (("title", "description"), ("text",))
# Name of a split in a table -> our name.
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns by their meaning; None if the table has no such column."""

    id: str
    label: str | None
    text: tuple[str, ...]
    image: str | None
    group: str | None
    fold: str | None
    split: str | None

    def used(self) -> list[str]:
        """Return all columns that are read, without repetition."""
        single = [self.id, self.label, *self.text, self.image, self.group, self.fold, self.split]
        return list(dict.fromkeys(name for name in single if name is not None))


def resolve_columns(table: str, header: Sequence[str], params: ColumnParams) -> Columns:
    """Return the columns to read; ValueError with the columns found if one is missing or occurs twice."""
    by_lower: dict[str, str] = {}
    for name in header:
        by_lower.setdefault(name.lower(), name)

    def usual(role: str) -> str | None:
        return next((by_lower[name] for name in USUAL[role] if name in by_lower), None)

    listing = f"columns found: {', '.join(name or '(no name)' for name in header)}"
    named = {"id": params.id, "label": params.label, "image": params.image}
    named |= {"group": params.group, "fold": params.fold, "split": params.split}
    texts = (params.text,) if isinstance(params.text, str) else tuple(params.text or ())
    for role, given in [*named.items(), *(("text", text) for text in texts)]:
        if given is not None and given not in header:
            raise ValueError(f"{table}: no column {given!r}, which data.columns.{role} names; {listing}")
    chosen = {role: name or usual(role) for role, name in named.items()}
    product_id = chosen.pop("id")
    if product_id is None:
        raise ValueError(
            f"{table}: no id column ({', '.join(USUAL['id'])}); {listing}. "
            "Name it in data.columns.id; columns must be separated by commas"
        )
    if not texts:
        parts = [tuple(by_lower[name] for name in names if name in by_lower) for names in TEXTS]
        texts = next((part for part in parts if part), ())
    columns = Columns(id=product_id, text=texts, **chosen)
    for name in columns.used():
        if sum(other.lower() == name.lower() for other in header) > 1:
            raise ValueError(f"{table}: column {name!r} occurs twice; rename one; {listing}")
    return columns

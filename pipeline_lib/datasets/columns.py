"""Finds the columns of a table: by the names that params give, else as a known export, else by common names."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline_lib.datasets.exports import EXPORTS, find_export, heading
from pipeline_lib.datasets.table_file import listing, not_read
from pipeline_lib.params.data import ColumnParams

# Common names in order of preference, as `heading` writes them.
USUAL = {
    "id": ("id", "product_id", "item_id", "sku", "article_id"),
    "label": ("categories", "label", "category", "class"),
    "image": ("image", "image_path", "images", "filename", "file_name"),
    "video": (),  # shops list videos that are not to be read
    "group": ("group", "group_id"),
    "fold": ("fold",),
    "split": ("split",),
}
# Numeric columns that a search filters by; all that are found are read.
ATTRIBUTES = ("price", "sale_price", "regular_price", "variant_price", "list_price", "rating", "stock", "quantity")
TEXTS = (("title", "description"), ("text",))
TITLES = ("name", "product_name", "item_name")
# All headings that mean something by themselves.
KNOWN = {*ATTRIBUTES, *TITLES}.union(*USUAL.values(), *TEXTS)
for _export in EXPORTS.values():
    KNOWN |= _export.marks.union(*_export.roles.values())
# Name of a split in a table -> our name.
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SPLIT_ADVICE = "write train, val (valid, validation, dev) or test"


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns by their meaning, None or () if the table has no such column.

    `export` is the name of the known export that the table is, `ignored` the names of the columns that are not read.
    """

    id: str
    label: str | None
    text: tuple[str, ...]
    image: tuple[str, ...]
    video: str | None
    group: str | None
    fold: str | None
    split: str | None
    attributes: tuple[str, ...]
    export: str | None
    ignored: tuple[str, ...]

    def used(self) -> list[str]:
        """Return all columns that are read, without repetition."""
        single = [self.id, self.label, *self.text, *self.image, self.video, self.group, self.fold, self.split]
        return list(dict.fromkeys(name for name in [*single, *self.attributes] if name is not None))

    def choice(self) -> dict[str, str]:
        """Return the columns of each role for counts.json and messages; a role without a column is left out."""
        roles = {"id": self.id, "label": self.label, "text": " + ".join(self.text), "image": " + ".join(self.image)}
        roles |= {"video": self.video, "group": self.group, "fold": self.fold, "split": self.split}
        roles |= {"attributes": " + ".join(self.attributes), "known as": self.export}
        return {role: names for role, names in roles.items() if names}


def resolve_columns(table: str, header: Sequence[str], params: ColumnParams) -> Columns:
    """Return the columns to read; ValueError with the columns found if one is missing or occurs twice."""
    by_heading: dict[str, str] = {}
    for name in header:
        if (key := heading(name)) in KNOWN:  # of a table with a million columns no copy of all names
            by_heading.setdefault(key, name)
    found_names = f"columns found: {listing(header)}"
    given = _given(params)
    for role, name in [(role, name) for role, names in given.items() for name in names]:
        if name not in header:
            raise ValueError(f"{table}: no column {name!r}, which data.columns.{role} names; {found_names}")
    export = find_export(by_heading)
    chosen = {role: given[role] or _found(role, by_heading, export) for role in given}
    if not given["attributes"]:
        found = () if params.attributes == [] else chosen["attributes"]
        counts = _counts(header, found) if found else Counter[str]()
        chosen["attributes"] = tuple(name for name in found if counts[name.lower()] == 1)
    if not chosen["id"]:
        raise ValueError(
            f"{table}: no id column ({', '.join(USUAL['id'])}); {found_names}. "
            "Name it in data.columns.id; columns must be separated by commas, semicolons, tabs or |"
        )
    single = {role: next(iter(chosen[role]), None) for role in ("label", "video", "group", "fold", "split")}
    used = [name for names in chosen.values() for name in names]
    counts = _counts(header, used)
    for name in used:
        if counts[name.lower()] > 1:
            raise ValueError(f"{table}: column {name!r} occurs twice; rename one; {found_names}")
    ignored = not_read(header, set(used))
    text, image, attributes = (chosen[role] for role in ("text", "image", "attributes"))
    return Columns(
        id=chosen["id"][0], text=text, image=image, attributes=attributes, export=export, ignored=ignored, **single
    )


def _counts(header: Sequence[str], names: Collection[str]) -> Counter[str]:
    """Return how often each of the names occurs in a header, in lower case."""
    asked = {name.lower() for name in names}
    return Counter(lowered for name in header if (lowered := name.lower()) in asked)


def _given(params: ColumnParams) -> dict[str, tuple[str, ...]]:
    """Return the columns that params name, () for a role that they leave open."""
    names = {role: getattr(params, role) for role in (*USUAL, "text", "attributes")}
    return {
        role: () if name is None else (name,) if isinstance(name, str) else tuple(name) for role, name in names.items()
    }


def _found(role: str, by_heading: dict[str, str], export: str | None) -> tuple[str, ...]:
    """Return the columns of a role by the export's headings, else by common ones."""
    if role == "attributes":
        return tuple(by_heading[name] for name in ATTRIBUTES if name in by_heading)
    if export is not None and role in EXPORTS[export].roles:
        names = tuple(by_heading[name] for name in EXPORTS[export].roles[role] if name in by_heading)
        return names if role in ("text", "image") else names[:1]
    if export is not None and role in ("label", "group"):
        return ()  # a common name may mean something else in an export
    if role != "text":
        return tuple(by_heading[name] for name in USUAL[role] if name in by_heading)[:1]
    title = tuple(by_heading[name] for name in TITLES if name in by_heading)[:1]
    parts = [tuple(by_heading[name] for name in names if name in by_heading) for names in TEXTS]
    if title and "title" not in by_heading and "description" in by_heading:
        return (*title, by_heading["description"])
    return next((part for part in parts if part), title)

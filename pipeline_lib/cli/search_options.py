"""The options of `vitrine search` as a query and its filters: what it is like, and what its result may contain."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.catalogue.schema import REJECTED
from pipeline_lib.serving.catalogue import Range
from pipeline_lib.serving.query import Filters

FORMS = "category=mug, price=5..20, price=..20, score=0.3.. or duplicates=hidden"
SPAN = re.compile(r"^(-?[0-9.]+)?\.\.(-?[0-9.]+)?$")


@dataclass(frozen=True)
class Reference:
    """The product of a composed query, its split (train | test), and the fold that holds it, if any.

    Products of train without a fold are trained on by the models of all folds.
    """

    product_id: str
    split: str
    fold: int | None

    def note(self, fold: int) -> str | None:
        """Return a line for a reference that a composed model was trained on, so its gallery does not have it."""
        if self.split == "test" or self.fold == fold:
            return None
        place = self.split if self.fold is None else f"fold {self.fold}"
        return f"{self.product_id} is in {place}, which the model of fold {fold} was trained on"


def find_reference(product_id: str) -> Reference:
    """Return a product of the catalogue; ValueError for an unknown one, with the reason if it was rejected."""
    own = pl.col("product_id") == product_id
    folder = paths.CATALOGUE
    if not (folder / "products.parquet").is_file():
        raise ValueError(f"{folder}: no catalogue here; run `dvc repro`")
    found = read_table(paths.FOLDS / "folds.parquet").filter(own).select("split", "fold")
    if found.height:
        return Reference(product_id, *found.row(0))
    rejected = read_table(folder / "rejects.parquet").filter(own, pl.col("action") == REJECTED)
    if rejected.height:
        raise ValueError(f"product {product_id!r} was rejected: {rejected['reason'][0]}; it has no features")
    known = read_table(folder / "products.parquet", ["product_id"])["product_id"].to_list()
    near = difflib.get_close_matches(product_id, known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"--like {product_id}: no such product in {folder / 'products.parquet'}, and no such file of a picture{meant}"
    )


def picture_of(like: str | None) -> Path | None:
    """Return the file that --like names, None if it is the id of a product."""
    return Path(like) if like and Path(like).is_file() else None


def parse_filters(where: Sequence[str], numbers: Sequence[str] | None = None) -> Filters:
    """Return the filters of all --where options; ValueError for one that is none of FORMS.

    `numbers` are the catalogue's numeric columns, None if they are not known; ValueError for any other name, too.

    >>> parse_filters(["category=mug", "category=bowl", "price=5..20"]).categories
    ('mug', 'bowl')
    """
    filters = Filters()
    for text in where:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise ValueError(f"--where {text}: no such filter; write {FORMS}")
        if name not in READERS and numbers is not None and name not in numbers:
            columns = f"numeric columns: {', '.join(numbers) or 'none'} (data.columns.attributes names them)"
            raise ValueError(f"--where {text}: {name} is no filter; filters are {', '.join(READERS)} and {columns}")
        filters = READERS.get(name, _range)(filters, name, value)
    return filters


def _category(filters: Filters, name: str, value: str) -> Filters:
    return replace(filters, categories=(*filters.categories, value))


def _score(filters: Filters, name: str, value: str) -> Filters:
    span = _span(name, value)
    if span.low is None or span.high is not None:
        raise ValueError(f"--where {name}={value}: a score has a lower limit alone; write score=0.3..")
    return replace(filters, min_score=span.low)


def _duplicates(filters: Filters, name: str, value: str) -> Filters:
    if value not in ("hidden", "shown"):
        raise ValueError(f"--where {name}={value}: write duplicates=hidden, or leave it out")
    return replace(filters, hide_duplicates=value == "hidden")


def _range(filters: Filters, name: str, value: str) -> Filters:
    return replace(filters, ranges=(*filters.ranges, _span(name, value)))


def _span(name: str, value: str) -> Range:
    found = SPAN.match(value)
    if not found or not any(found.groups()):
        raise ValueError(f"--where {name}={value}: not a range; write {name}=5..20, {name}=5.. or {name}=..20")
    try:
        low, high = (None if end is None else float(end) for end in found.groups())
    except ValueError:
        raise ValueError(f"--where {name}={value}: a limit is no number; write {name}=5..20") from None
    return Range(name, low, high)


# Name of a filter -> (filters so far, name, value) -> the filters with it. Any other name is a numeric column.
READERS: dict[str, Callable[[Filters, str, str], Filters]] = {
    "category": _category,
    "score": _score,
    "duplicates": _duplicates,
}

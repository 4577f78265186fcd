"""The catalogue by row of an index: texts, categories, numbers such as prices, groups of duplicates.

A filter is a mask over these rows. Products that have no value for a number do not pass a range of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_table

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Range:
    """A closed interval of a numeric column; None is no limit."""

    column: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Span:
    """Smallest and largest value of a numeric column, and how many products have none."""

    column: str
    low: float
    high: float
    missing: int


@dataclass(frozen=True)
class ServedCatalogue:
    """Columns of the products in the order of an index.

    `label` numbers `categories`, -1 for none; `group` is equal for near-duplicates; `numbers` are float64, NaN for no
    value.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    categories: Sequence[str]
    label: NDArray[np.int32]
    group: NDArray[np.int64]
    numbers: Mapping[str, NDArray[np.float64]]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each product."""
        return {key: row for row, key in enumerate(self.ids)}

    @cached_property
    def number_of(self) -> dict[str, int]:
        """The number of each category."""
        return {name: number for number, name in enumerate(self.categories)}

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """The number of products of each category."""
        return np.bincount(self.label[self.label >= 0], minlength=len(self.categories))

    @cached_property
    def num_duplicates(self) -> int:
        """How many products are hidden if one of each group is shown."""
        return len(self.group) - len(np.unique(self.group))

    def category(self, row: int) -> str | None:
        """Return the category of a product, if it has one."""
        number = int(self.label[row])
        return None if number < 0 else self.categories[number]

    def numbers_of(self, row: int) -> dict[str, float]:
        """Return the finite numbers that a product has."""
        values = {name: float(column[row]) for name, column in self.numbers.items()}
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def spans(self) -> list[Span]:
        """Return the spans of the numeric columns that have a finite value."""
        spans = []
        for name, column in self.numbers.items():
            known = column[np.isfinite(column)]
            if len(known):
                spans.append(Span(name, float(known.min()), float(known.max()), len(column) - len(known)))
        return spans

    def check(self, categories: Sequence[str], ranges: Sequence[Range]) -> None:
        """Raise ValueError for a category or a numeric column that no product has."""
        if unknown := [name for name in categories if name not in self.number_of]:
            raise ValueError(f"category {unknown[0][:100]!r}: no product has it")
        if wrong := [one.column for one in ranges if one.column not in self.numbers]:
            known = ", ".join(self.numbers) or "none"
            raise ValueError(f"range of {wrong[0][:100]!r}: no such column of numbers; the catalogue has {known}")

    def mask(self, categories: Sequence[str], ranges: Sequence[Range]) -> Mask | None:
        """Return which products are of one of the categories and within all ranges; None without a filter.

        Raises ValueError as `check`.
        """
        self.check(categories, ranges)
        if not categories and not ranges:
            return None
        mask = np.ones(len(self.ids), np.bool_)
        if categories:
            mask &= np.isin(self.label, [self.number_of[name] for name in categories])
        for one in ranges:
            values = self.numbers[one.column]
            mask &= values >= (-np.inf if one.low is None else one.low)
            mask &= values <= (np.inf if one.high is None else one.high)
        return mask


def read_served(root: Path, ids: Sequence[str]) -> ServedCatalogue:
    """Read the columns of the products of an index; ValueError if the catalogue lacks one of them."""
    folder = root / paths.CATALOGUE
    table = pl.DataFrame({"product_id": list(ids)}, schema={"product_id": pl.String})
    products = read_table(folder / "products.parquet", columns=["product_id", "text", "label", "group_id"])
    joined = table.join(products, on="product_id", how="left", maintain_order="left")
    unknown = table.join(products, on="product_id", how="anti")
    if len(unknown):
        raise ValueError(
            f"{folder / 'products.parquet'}: no product {unknown['product_id'][0]!r}, but the index has it; "
            "run `dvc repro`"
        )
    labels = joined["label"]
    categories = labels.drop_nulls().unique().sort().to_list()
    numbered = pl.DataFrame({"label": categories}, schema={"label": pl.String}).with_row_index("number")
    number = joined.select("label").join(numbered, on="label", how="left", maintain_order="left")["number"]
    groups = joined.select(pl.coalesce("group_id", "product_id")).to_series().rank("dense")
    return ServedCatalogue(
        ids=ids,
        texts=joined["text"].fill_null("").to_list(),
        categories=categories,
        label=number.cast(pl.Int32).fill_null(-1).to_numpy(),
        group=groups.cast(pl.Int64).to_numpy(),
        numbers=_read_numbers(folder / "attributes.parquet", table),
    )


def number_names(root: Path) -> list[str] | None:
    """Return the catalogue's numeric columns; None if there is no catalogue."""
    folder = root / paths.CATALOGUE
    if not folder.is_dir():
        return None
    path = folder / "attributes.parquet"
    return [name for name in read_table(path).columns if name != "product_id"] if path.is_file() else []


def _read_numbers(path: Path, table: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the numeric columns; none if the catalogue has no such table."""
    if not path.is_file():
        return {}
    joined = table.join(read_table(path), on="product_id", how="left", maintain_order="left")
    names = [name for name in joined.columns if name != "product_id"]
    return {name: joined[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in names}

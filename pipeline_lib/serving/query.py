"""A query as the API understands it, and what a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline_lib.serving.catalogue import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline_lib.transforms.image import Pixels

# How a query became a vector. SUM is that of a text and a picture; after COMPOSED comes the kind of the composed model.
TEXT, PICTURE, PRODUCT, SUM, COMPOSED = "text", "picture", "product", "sum", "composed"


class NotSearchedError(ValueError):
    """A product that a query is not compared with."""


@dataclass(frozen=True)
class Filters:
    """What a result may contain; equal filters of waiting queries share one search."""

    categories: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    min_score: float | None = None
    hide_duplicates: bool = False


@dataclass(frozen=True)
class Query:
    """A text, a picture (the square that the model reads) or a product `like`, or a text with one of the others."""

    text: str = ""
    view: Pixels | None = None
    like: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is a text alone."""
        return self.view is None and self.like is None


class Encoded(NamedTuple):
    """A query's vector (1, dim) and how it was computed; `composed` if it belongs to the composed model's gallery.

    `cut_at` is the number of tokens that the model read of its text, None if it read all of them.
    """

    vector: NDArray[np.float32]
    method: str
    composed: bool = False
    cut_at: int | None = None


@dataclass(frozen=True)
class Job:
    """One search: a query, its vector if it has been computed, the number of products and the filters."""

    query: Query
    k: int
    filters: Filters = field(default_factory=Filters)
    encoded: Encoded | None = None


class Found(NamedTuple):
    """A product of a result by its row, and its score."""

    row: int
    score: float


class Answer(NamedTuple):
    """The products of a search, best first, how the query was read, and how many products were searched.

    `cut_at` is that of the query.
    """

    found: list[Found]
    method: str
    searched: int
    cut_at: int | None = None

"""The stores of one tower, its output and its activations or tokens: written together, opened by training.

Photos may have a second pair of stores, for augmented views. Each store names the tower's weights and its inputs, and
training refuses a store whose tower or inputs differ.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.remote import Location, verified_location
from pipeline_lib.stores.activations import ActivationHeader, ActivationStore, ActivationWriter, open_activations
from pipeline_lib.stores.boundary import BOUNDARY, TOKENS, ItemCounts, TowerBoundary
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.store import (
    HEADER,
    IDS,
    FeatureStore,
    MatrixWriter,
    StoreHeader,
    holds_matrix,
    open_store,
    read_header,
)
from pipeline_lib.towers.tower import Identified
from pipeline_lib.transforms.resizing import preprocessing_fingerprint

Array = NDArray[np.float32]
VIEWS = "-views"


class TowerStores:
    """Writes a tower's output and its activations, as far as the boundary includes them.

    An item is a text, a photo, or one `drawn` view of a photo; `ids` has the id of the text or photo of each item.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        boundary: TowerBoundary,
        counts: ItemCounts,
        dtype: str,
        drawn: DrawnViews | None = None,
    ) -> None:
        items, vectors = counts.items, counts.vectors
        if drawn is not None:
            name, items, vectors = f"{name}{VIEWS}", items * drawn.count, vectors * drawn.count
        self.boundary = boundary
        self.drawn = drawn
        self.dtype = dtype
        self.ids: list[str] = []
        self.pooled: MatrixWriter | None = None
        self.activations: ActivationWriter | None = None
        self._pooled_matrix = (out / name, items, boundary.dim)
        self._activation_matrix = (
            (out / f"{name}{boundary.suffix}", vectors, boundary.shape[-1]) if boundary.suffix else None
        )

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is to be stored."""
        return not self.boundary.pooled and self._activation_matrix is None

    def files_exist(self) -> bool:
        """Return whether all matrices exist with the right size, so that writing can resume."""
        matrices = [self._pooled_matrix] if self.boundary.pooled else []
        matrices += [self._activation_matrix] if self._activation_matrix is not None else []
        return all(holds_matrix(*matrix, self.dtype) for matrix in matrices)

    def open(self, stored: list[str]) -> None:
        """Create the files, or resume those that already have the items of the ids `stored`."""
        self.ids = list(stored)
        if self.boundary.pooled:
            self.pooled = MatrixWriter(*self._pooled_matrix, self.dtype, keep=bool(stored))
        if self._activation_matrix is not None:
            vectors_per_item = int(np.prod(self.boundary.shape[:-1]))
            self.activations = ActivationWriter(*self._activation_matrix, self.dtype, stored, vectors_per_item)

    def write(self, ids: Sequence[str], values: Array, mask: NDArray[np.bool_] | None) -> None:
        """Write a block of items: `values` (items, activations + dim), and for texts `mask` (items, longest)."""
        activations, pooled = np.split(values, [values.shape[1] - self.boundary.dim], axis=1)
        if self.pooled is not None:
            self.pooled.write(len(self.ids), pooled)
        if self.activations is not None:
            self.activations.write(ids, activations.reshape(len(ids), -1, self.boundary.shape[-1]), mask)
        self.ids += ids

    def flush(self) -> None:
        """Flush the written items to disk."""
        for writer in (self.pooled, self.activations):
            if writer is not None:
                writer.flush()

    def close(self, encoder: str, preprocessing: str) -> None:
        """Write ids and headers."""
        if self.pooled is not None:
            ids = self.ids[:: self.drawn.count if self.drawn else 1]
            self.pooled.close(ids, encoder, preprocessing, views=self.drawn)
        if self.activations is not None:
            self.activations.close(encoder, preprocessing, self.boundary, self.drawn)


def photo_origin(
    source: Identified, size: int, mirrored: bool = False, drawn: DrawnViews | None = None
) -> tuple[str, str]:
    """Return (encoder, preprocessing) as in the headers of an image tower's stores.

    The view is the fixed one at `size` pixels, the same mirrored, or the `drawn` views.
    """
    more: dict[str, object] = {"drawn": asdict(drawn)} if drawn else {}
    more |= {"mirrored": True} if mirrored else {}
    return source.fingerprint, preprocessing_fingerprint(size, source.description, **more)


def text_origin(source: Identified) -> tuple[str, str]:
    """Return (encoder, preprocessing) as in the headers of a text tower's stores."""
    return source.fingerprint, digest_value([source.description[key] for key in ("tokenizer", "max_tokens")])


def origin_of(name: str, source: Identified, drawn: DrawnViews | None = None) -> tuple[str, str]:
    """Return (encoder, preprocessing) as in the headers of a tower's stores in data/work/features/trunk."""
    return photo_origin(source, source.description["size"], drawn=drawn) if name == "image" else text_origin(source)


def stored_views(folder: Path) -> DrawnViews | None:
    """Return the drawn views in a folder of stores, None if there are none; ValueError for an incomplete store."""
    for suffix in ("", BOUNDARY, TOKENS):
        if (store := folder / f"image{VIEWS}{suffix}").is_dir():
            return read_header(ActivationHeader if suffix else StoreHeader, store, store, None, None).views
    return None


def open_pooled(
    folder: Path, name: str, source: Identified, url: str | None = None, drawn: DrawnViews | None = None
) -> FeatureStore | None:
    """Open the store of a tower's output, or of its output for drawn views; None if there is none.

    `url` is a copy of data/work/features that is read instead. ValueError if the store has another tower or view.
    """
    store = folder / f"{name}{VIEWS if drawn else ''}"
    return open_store(_place(store, url), *origin_of(name, source, drawn)) if store.is_dir() else None


def open_boundary(
    folder: Path, name: str, source: Identified, url: str | None = None, drawn: DrawnViews | None = None
) -> ActivationStore | None:
    """Open the store of a tower's activations; the arguments are those of `open_pooled`."""
    store = folder / f"{name}{VIEWS if drawn else ''}{BOUNDARY}"
    return open_activations(_place(store, url), *origin_of(name, source, drawn)) if store.is_dir() else None


def open_tokens(
    folder: Path, name: str, source: Identified, url: str | None = None, drawn: DrawnViews | None = None
) -> ActivationStore | None:
    """Open the store of what a tower pools (see `ActivationStore.stored_tokens`); arguments as in `open_pooled`."""
    store = folder / f"{name}{VIEWS if drawn else ''}{TOKENS}"
    return open_activations(_place(store, url), *origin_of(name, source, drawn)) if store.is_dir() else None


def _place(store: Path, url: str | None) -> Location:
    return verified_location(store, url and f"{url.rstrip('/')}/{store.parent.name}/{store.name}", (HEADER, IDS))

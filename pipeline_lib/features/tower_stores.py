"""The stores of one tower: its output and what enters its last layer groups, written side by side, opened by training.

Of photos there may be a second pair, of augmented views that were drawn once. All name the tower's weights and the view
they were made from, and refuse any other.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.remote import Place, copy_of
from pipeline_lib.models.towers import TowerSource, fingerprint
from pipeline_lib.stores.activations import ActivationStore, ActivationWriter, open_activations
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.store import HEADER, IDS, FeatureStore, MatrixWriter, holds_matrix, open_store, read_header
from pipeline_lib.transforms.image import preprocessing_fingerprint

Array = NDArray[np.float32]
BOUNDARY = "-boundary"  # behind a tower's name: the folder of its activations
VIEWS = "-views"  # behind `image`, and before the above: what drawn views gave


class TowerStores:
    """The store of a tower's output and that of its activations, each if it is wanted, written side by side.

    An item is a text, a photo or, of `drawn` views, one view; `ids` are those of texts and photos.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        split: TowerBoundary,
        count: int,
        tokens: int,
        dtype: str,
        drawn: DrawnViews | None = None,
    ) -> None:
        if drawn is not None:
            name, count, tokens = f"{name}{VIEWS}", count * drawn.count, tokens * drawn.count
        self.split = split
        self.drawn = drawn
        self.dtype = dtype
        self.ids: list[str] = []
        self.pooled: MatrixWriter | None = None
        self.entering: ActivationWriter | None = None
        self._pooled = (out / name, count, split.dim)
        self._entering = (out / f"{name}{BOUNDARY}", tokens, split.shape[-1]) if split.num_suffix_groups else None

    @property
    def wanted(self) -> bool:
        """Tell whether anything is to be stored."""
        return self.split.pooled or self._entering is not None

    def held(self) -> bool:
        """Tell whether files of the right sizes are there, so that they can be written on."""
        wanted = [self._pooled] if self.split.pooled else []
        wanted += [self._entering] if self._entering is not None else []
        return all(holds_matrix(*sizes, self.dtype) for sizes in wanted)

    def begin(self, stored: list[str]) -> None:
        """Make the files, or open those that are there and hold the items of the ids `stored` already."""
        self.ids = list(stored)
        if self.split.pooled:
            self.pooled = MatrixWriter(*self._pooled, self.dtype, keep=bool(stored))
        if self._entering is not None:
            each = int(np.prod(self.split.shape[:-1]))
            self.entering = ActivationWriter(*self._entering, self.dtype, stored, each)

    def write(self, ids: Sequence[str], both: Array, mask: NDArray[np.bool_] | None) -> None:
        """Take in a block of items: `both` (items, cells + dim), `mask` (items, longest) that of texts."""
        inside, pooled = np.split(both, [both.shape[1] - self.split.dim], axis=1)
        if self.pooled is not None:
            self.pooled.write(len(self.ids), pooled)
        if self.entering is not None:
            self.entering.write(ids, inside.reshape(len(ids), -1, self.split.shape[-1]), mask)
        self.ids += ids

    def flush(self) -> None:
        """Have what was written on the disk."""
        for writer in (self.pooled, self.entering):
            if writer is not None:
                writer.flush()

    def close(self, encoder: str, preprocessing: str) -> None:
        """Write ids and headers."""
        if self.pooled is not None:
            self.pooled.close(
                self.ids[:: self.drawn.count if self.drawn else 1], encoder, preprocessing, views=self.drawn
            )
        if self.entering is not None:
            self.entering.close(encoder, preprocessing, self.split, self.drawn)


def view_fingerprint(source: TowerSource, drawn: DrawnViews | None = None) -> str:
    """Return the identity of the fixed view that an image tower sees, or of the views that are drawn for it."""
    size, mean, std = (source.description[key] for key in ("size", "mean", "std"))
    return preprocessing_fingerprint(size, mean, std, **({"drawn": asdict(drawn)} if drawn else {}))


def text_fingerprint(source: TowerSource) -> str:
    """Return the identity of what a text tower is fed."""
    return digest_value([source.description[key] for key in ("tokenizer", "max_tokens")])


def maker_of(name: str, source: TowerSource, drawn: DrawnViews | None = None) -> tuple[str, str]:
    """Return (encoder, preprocessing) as the headers of a tower's stores name them."""
    fed = view_fingerprint(source, drawn) if name == "image" else text_fingerprint(source)
    return fingerprint(source), fed


def drawn_in(folder: Path) -> DrawnViews | None:
    """Return which views of photos a folder of stores holds beside the fixed one; ValueError if a store is half."""
    for name in (f"image{VIEWS}", f"image{VIEWS}{BOUNDARY}"):
        if (kept := folder / name).is_dir():
            drawn: DrawnViews | None = read_header(kept, kept, None, None)["views"]
            return drawn
    return None


def open_pooled(
    folder: Path, name: str, source: TowerSource, url: str | None = None, drawn: DrawnViews | None = None
) -> FeatureStore | None:
    """Open the store of a tower's output, None if there is none; ValueError if another tower or view made it.

    With `drawn`, that of those views. `url` is that of a copy of data/work/features, which is read instead where it is
    given.
    """
    kept = folder / f"{name}{VIEWS if drawn else ''}"
    return open_store(_place(kept, url), *maker_of(name, source, drawn)) if kept.is_dir() else None


def open_boundary(
    folder: Path, name: str, source: TowerSource, url: str | None = None, drawn: DrawnViews | None = None
) -> ActivationStore | None:
    """Open the store of a tower's activations, as `open_pooled` that of its output."""
    kept = folder / f"{name}{VIEWS if drawn else ''}{BOUNDARY}"
    return open_activations(_place(kept, url), *maker_of(name, source, drawn)) if kept.is_dir() else None


def _place(kept: Path, url: str | None) -> Place:
    return copy_of(kept, url and f"{url.rstrip('/')}/{kept.parent.name}/{kept.name}", (HEADER, IDS))

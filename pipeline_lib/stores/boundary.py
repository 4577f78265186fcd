"""The boundary of a tower, at which its activations are stored, and the disk space that the stores take.

The sizes are reported before a tower runs. A map of 7 x 7 x 768 takes 75 KB per photo in float16, so an early boundary
of a large catalogue can fill a disk.
"""

from dataclasses import dataclass

import numpy as np

from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import DTYPES

# Folders of stores: image, image-mirrored, image-views (drawn) and text, each also with -boundary or -tokens.
BOUNDARY = "-boundary"
TOKENS = "-tokens"
MIRRORED = "-mirrored"


@dataclass(frozen=True)
class TowerBoundary:
    """What is stored of a tower: its output, `dim` wide, and the input of its last `num_suffix_groups` layer groups.

    `shape` is the shape of one item at the boundary: (*grid, width) for a photo, (width,) for each token of a text.
    With `tokens` the boundary is the pooling, and no layer group comes after it. `note` gives the reason if less is
    stored than the settings request.
    """

    pooled: bool
    dim: int
    num_suffix_groups: int = 0
    first_group: str = ""
    shape: tuple[int, ...] = ()
    note: str | None = None
    tokens: bool = False

    @property
    def suffix(self) -> str | None:
        """Return how the folder of the activations ends; None if only the output is stored."""
        if self.tokens:
            return TOKENS
        return BOUNDARY if self.num_suffix_groups else None


@dataclass(frozen=True)
class ItemCounts:
    """The number of photos or texts, and of their activation vectors (cells of all maps, or tokens of all texts)."""

    items: int
    vectors: int


def check_size(
    boundaries: dict[str, TowerBoundary],
    counts: dict[str, ItemCounts],
    dtype: str,
    max_gb: float,
    drawn: DrawnViews | None = None,
) -> list[str]:
    """Return lines that describe what will be stored; ValueError if it takes more than `max_gb` 1e9 bytes.

    `counts` are those of the fixed view of each photo; the `drawn` views are added.
    """
    itemsize, total, described = np.dtype(DTYPES[dtype]).itemsize, 0, []
    notes = [f"{name}: {boundary.note}" for name, boundary in boundaries.items() if boundary.note]
    for name, boundary in boundaries.items():
        items, vectors = counts[name].items, counts[name].vectors
        views = drawn if name == "image" else None
        factor = itemsize * (1 + (views.count if views else 0))
        output = items * boundary.dim * factor if boundary.pooled else 0
        activations = vectors * boundary.shape[-1] * factor if boundary.suffix else 0
        total += output + activations
        shape = " x ".join(str(length) for length in boundary.shape)
        parts = [f"output {format_size(output)}"] if output else []
        if activations:
            unit = shape if name == "image" else f"{vectors} tokens x {shape}"
            parts.append(f"before {boundary.first_group} ({unit}) {format_size(activations)}")
        if parts:
            what = "photos" if name == "image" else "texts"
            which = f", fixed and {views}" if views else ""
            described.append(f"{items} {what}{which}: {', '.join(parts)}")
    content = "; ".join(described)
    if total > max_gb * 1e9:
        fewer = [] if any(boundary.tokens for boundary in boundaries.values()) else ["fewer features.trunk.layers"]
        fewer += ["fewer features.trunk.views"] if drawn else []
        ways = ", ".join(["features.trunk.at = pooled", *fewer])
        raise ValueError(
            f"features.max_gb = {max_gb:g}, but {format_size(total)} would be stored as {dtype} ({content}); increase "
            f"it, or set {ways} or features.dtype = float16"
        )
    return [*notes, f"to be stored as {dtype}: {content or 'nothing'}"]


def format_size(size: int) -> str:
    """Format a number of bytes.

    >>> format_size(8_500_000_000), format_size(75_264)
    ('8.5 GB', '75.3 KB')
    """
    unit, by = next(((unit, by) for unit, by in (("GB", 1e9), ("MB", 1e6)) if size >= by), ("KB", 1e3))
    return f"{size / by:.3g} {unit}"

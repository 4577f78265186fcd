"""Where the towers' forward passes are left so that their activations can be stored, and how much room that takes.

Told before anything is run: a map of 7 x 7 x 768 is 75 KB a photo in float16, so a large catalogue of an early split is
sooner too large for its disk than anybody expects.
"""

from dataclasses import dataclass

import numpy as np

from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import DTYPES


@dataclass(frozen=True)
class TowerBoundary:
    """What a store holds of a tower: its output, `dim` wide, and the input of its last `num_suffix_groups` layer groups.

    `shape` is that of an item there, [*grid, width] of a photo and [width] of each token of a text; `note` says why
    less is kept than is asked for.
    """

    pooled: bool
    dim: int
    num_suffix_groups: int = 0
    first_group: str = ""
    shape: tuple[int, ...] = ()
    note: str | None = None


def check_size(
    splits: dict[str, TowerBoundary],
    items: dict[str, int],
    tokens: dict[str, int],
    dtype: str,
    max_gb: float,
    drawn: DrawnViews | None = None,
) -> list[str]:
    """Return lines on what will be stored; ValueError, with the sizes, if it is more than `max_gb` 1e9 bytes.

    `tokens` counts, tower by tower, how many vectors of activations there are: cells of all maps, or tokens; both
    counts are those of the fixed view, and `drawn` views come on top.
    """
    size, total, told = np.dtype(DTYPES[dtype]).itemsize, 0, []
    notes = [f"{name}: {split.note}" for name, split in splits.items() if split.note]
    for name, split in splits.items():
        views = drawn if name == "image" else None
        times = size * (1 + (views.count if views else 0))
        output = items[name] * split.dim * times if split.pooled else 0
        entering = tokens[name] * split.shape[-1] * times if split.num_suffix_groups else 0
        total += output + entering
        each = " x ".join(str(length) for length in split.shape)
        parts = [f"output {in_words(output)}"] if output else []
        if entering:
            unit = each if name == "image" else f"{tokens[name]} tokens x {each}"
            parts.append(f"before {split.first_group} ({unit}) {in_words(entering)}")
        if parts:
            what = "photos" if name == "image" else "texts"
            beside = f", fixed and {views}" if views else ""
            told.append(f"{items[name]} {what}{beside}: {', '.join(parts)}")
    said = "; ".join(told)
    if total > max_gb * 1e9:
        raise ValueError(
            f"features.max_gb = {max_gb:g}, but {in_words(total)} would be stored as {dtype} ({said}); raise it, or "
            f"set features.trunk.at = pooled, fewer features.trunk.layers{' or views' if drawn else ''} or "
            "features.dtype = float16"
        )
    return [*notes, f"to be stored as {dtype}: {said or 'nothing'}"]


def in_words(size: int) -> str:
    """Write a number of bytes.

    >>> in_words(8_500_000_000), in_words(75_264)
    ('8.5 GB', '75.3 KB')
    """
    unit, by = next(((unit, by) for unit, by in (("GB", 1e9), ("MB", 1e6)) if size >= by), ("KB", 1e3))
    return f"{size / by:.3g} {unit}"

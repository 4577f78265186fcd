"""Where the towers' forward passes are left so that their activations can be stored, and how much room that takes.

Told before anything is run: a map of 7 x 7 x 768 is 75 KB a photo in float16, so a large catalogue of an early split is
sooner too large for its disk than anybody expects.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipeline_lib.models.towers import Tower, TowerSource
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import DTYPES


@dataclass(frozen=True)
class Split:
    """What is kept of a tower: its output, `dim` wide, and what enters its last `groups_behind` layer groups, if any.

    `shape` is that of an item there, [*grid, width] of a photo and [width] of each token of a text; `note` says why
    less is kept than is asked for.
    """

    pooled: bool
    dim: int
    groups_behind: int = 0
    first_group: str = ""
    shape: tuple[int, ...] = ()
    note: str | None = None


def why_not_pooled(name: str, source: TowerSource) -> str | None:
    """Return why a tower's output cannot be kept for a training, or None if it can.

    Early fusion pools behind a layer that is trained, and a part without pretrained weights begins anew in each run.
    """
    if source.description.get("tokens"):
        return "model.fusion = early reads tokens, which are not stored"
    if source.new:
        return f"model.{name} has parts without pretrained weights ({', '.join(source.new)}), made anew by each run"
    return None


def split_of(name: str, tower: Tower, source: TowerSource, layers: int, dry: Callable[[int], Tensor]) -> Split:
    """Return what is kept of a tower for `layers` groups behind (0: its output alone).

    `dry`(groups behind) runs the tower up to there on one photo, or on one text of any length.
    """
    groups, refused = tower.layer_groups(), why_not_pooled(name, source)
    pooled = refused is None
    if not layers or source.description.get("tokens"):
        return Split(pooled, tower.dim, note=refused)
    before = {key for group in groups[: max(0, len(groups) - layers)] for key in group.parameters}
    drawn_anew = [key for key in before if source.new and key.startswith(source.new)]
    if layers >= len(groups) or not tower.boundary(layers) or drawn_anew:
        kind = type(next(tower.children())).__name__
        fault = f"{kind} cannot be left before the last {layers} of its {len(groups)} layer groups"
        return Split(pooled, tower.dim, note=f"{fault}, so no activations are stored")
    shape = tuple(dry(layers).shape[1 if name == "image" else 2 :])
    return Split(pooled, tower.dim, layers, groups[-layers].name, shape, refused)


def check_size(
    splits: dict[str, Split],
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
    size, total, told = np.dtype(DTYPES[dtype][1]).itemsize, 0, []
    notes = [f"{name}: {split.note}" for name, split in splits.items() if split.note]
    for name, split in splits.items():
        views = drawn if name == "image" else None
        times = size * (1 + (views.count if views else 0))
        output = items[name] * split.dim * times if split.pooled else 0
        entering = tokens[name] * split.shape[-1] * times if split.groups_behind else 0
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

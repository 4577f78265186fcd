"""Augmented views of every photo that are drawn once and stored, for frozen towers that train with augmentation.

There are two kinds of chance. What view v of photo p shows follows from (the store's seed, p, v), whatever batch,
worker or process makes it. Which view a run reads follows from the run's own (seed, epoch, row), as its other draws do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
CROPPED = "clip"  # the augmentation that reads crop_scale


@dataclass(frozen=True)
class DrawnViews:
    """`count` views a photo of one augmentation; `crop_scale` is None where it crops nothing.

    Views are numbered photo after photo: item i is view i % count of photo i // count.
    """

    augment: str
    crop_scale: float | None
    count: int
    seed: int

    def photos(self, items: Rows) -> Rows:
        """Return the photo of each item."""
        return items // self.count

    def seeds(self, items: Rows) -> list[tuple[int, int, int]]:
        """Return the seed that each item is drawn with: (seed, photo, view)."""
        return [(self.seed, item // self.count, item % self.count) for item in items.tolist()]

    def pick(self, seeds: Sequence[tuple[int, ...]]) -> Rows:
        """Return one of the views for each seed (seed, epoch, row, ...) of a run."""
        drawn = (np.random.default_rng((*seed, 5)).integers(self.count) for seed in seeds)
        return np.fromiter(drawn, dtype=np.int64, count=len(seeds))

    def why_other(self, augment: str, crop_scale: float) -> str | None:
        """Return why a run cannot read these views, or None if it would draw such views itself."""
        if augment != self.augment:
            return f"train.augment = {augment}, but {self} are stored"
        if self.crop_scale is not None and crop_scale != self.crop_scale:
            return f"train.crop_scale = {crop_scale:g}, but {self} are stored with {self.crop_scale:g}"
        return None

    def __str__(self) -> str:
        """Return what they are, in words.

        >>> str(DrawnViews("clip", 0.6, 8, 0))
        '8 views a photo (clip)'
        """
        return f"{self.count} view{'s' if self.count > 1 else ''} a photo ({self.augment})"


def views_of(augment: str, crop_scale: float, count: int, seed: int) -> DrawnViews | None:
    """Return what is to be drawn; None without an augmentation."""
    if augment == "none":
        return None
    return DrawnViews(augment, crop_scale if augment == CROPPED else None, count, seed)

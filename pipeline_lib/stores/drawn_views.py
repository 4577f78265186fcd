"""Augmented views of every photo that are drawn once and stored, so that frozen towers can train with augmentation.

Two random draws are independent. View v of photo p depends on (seed of the store, p, v), and not on the batch, worker
or process that computes it. The view that a run reads depends on the run's (seed, epoch, row), as its other draws do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
CROPPED = "clip"  # the augmentation that uses crop_scale


@dataclass(frozen=True)
class DrawnViews:
    """`count` views per photo of one augmentation; `crop_scale` is None if the augmentation does not crop.

    Views are numbered photo by photo: item i is view i % count of photo i // count.
    """

    augment: str
    crop_scale: float | None
    count: int
    seed: int

    def photos(self, items: Rows) -> Rows:
        """Return the photo of each item."""
        return items // self.count

    def seeds(self, items: Rows) -> list[tuple[int, int, int]]:
        """Return the seed of each item: (seed, photo, view)."""
        return [(self.seed, item // self.count, item % self.count) for item in items.tolist()]

    def pick(self, seeds: Sequence[tuple[int, ...]]) -> Rows:
        """Return the number of one view for each seed (seed, epoch, row, ...) of a run."""
        drawn = (np.random.default_rng((*seed, 5)).integers(self.count) for seed in seeds)
        return np.fromiter(drawn, dtype=np.int64, count=len(seeds))

    def mismatch(self, augment: str, crop_scale: float) -> str | None:
        """Return the reason why these views do not match a run's augmentation, or None if they match."""
        if augment != self.augment:
            return f"train.augment = {augment}, but {self} are stored"
        if self.crop_scale is not None and crop_scale != self.crop_scale:
            return f"train.crop_scale = {crop_scale:g}, but {self} are stored with {self.crop_scale:g}"
        return None

    def __str__(self) -> str:
        """Return a short description.

        >>> str(DrawnViews("clip", 0.6, 8, 0))
        '8 views a photo (clip)'
        """
        return f"{self.count} view{'s' if self.count > 1 else ''} a photo ({self.augment})"


def views_to_draw(augment: str, crop_scale: float, count: int, seed: int) -> DrawnViews | None:
    """Return the views that the settings request; None without an augmentation."""
    if augment == "none":
        return None
    return DrawnViews(augment, crop_scale if augment == CROPPED else None, count, seed)

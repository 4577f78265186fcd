"""Which two products of a batch are blended, and in which shares, drawn for each row from (seed, epoch, row).

mixup takes a share of everything (Zhang et al. 2018, arXiv:1710.09412; of stored features it is manifold mixup, Verma
et al. 2019, arXiv:1806.05236), cutmix a box of the other's pixels (Yun et al. 2019, arXiv:1905.04899).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.params.train import MixKind

Rows = NDArray[np.int64]
Box = tuple[int, int, int, int]
Generator = np.random.Generator


def nothing(rng: Generator, alpha: float, size: int) -> tuple[float, Box | None]:
    """Return the whole row."""
    return 1.0, None


def mixup(rng: Generator, alpha: float, size: int) -> tuple[float, Box | None]:
    """Return a share from Beta(alpha, alpha)."""
    return float(rng.beta(alpha, alpha)), None


def cutmix(rng: Generator, alpha: float, size: int) -> tuple[float, Box | None]:
    """Return the box [top, bottom, left, right] around a uniform centre, of area 1 - Beta, and the share outside it.

    Where the box leaves the picture it is cut off, and the share grows.
    """
    half = 0.5 * size * (1 - rng.beta(alpha, alpha)) ** 0.5
    middle = rng.uniform(0, size, 2)
    top, left = (int(value) for value in np.clip(np.round(middle - half), 0, size))
    bottom, right = (int(value) for value in np.clip(np.round(middle + half), 0, size))
    return 1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right)


# train.mix -> function(rng, alpha, size in pixels) -> share of the row that stays, box taken of the other or None.
MIXES: dict[MixKind, Callable[[Generator, float, int], tuple[float, Box | None]]] = {
    "none": nothing,
    "mixup": mixup,
    "cutmix": cutmix,
}


@dataclass(frozen=True)
class Mix:
    """For each row of a batch the row it is blended with, the share it keeps, and for cutmix the box it takes."""

    partner: Rows
    share: NDArray[np.float32]
    cut: Rows | None


def draw_mix(
    kind: MixKind, alpha: float, size: int, seeds: Sequence[tuple[int, int, int]], may: NDArray[np.bool_]
) -> Mix:
    """Draw a batch's blends, `seeds` being (seed, epoch, row); what may not be blended stays whole."""
    count = len(seeds)
    partner, share, cut = np.arange(count), np.ones(count, np.float32), np.zeros((count, 4), np.int64)
    for place, seed in enumerate(seeds):
        rng = np.random.default_rng((*seed, 4))
        other = int(rng.integers(count))
        kept, box = MIXES[kind](rng, alpha, size)
        if may[place] and may[other]:
            partner[place], share[place] = other, kept
            cut[place] = box or 0
    return Mix(partner, share, cut if kind == "cutmix" else None)

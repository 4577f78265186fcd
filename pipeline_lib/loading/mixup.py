"""mixup and cutmix: the partner and the share of each row of a batch, drawn from (seed, epoch, row).

mixup interpolates two inputs (Zhang et al. 2018, arXiv:1710.09412; with stored features it is manifold mixup, Verma et
al. 2019, arXiv:1806.05236). cutmix pastes a box of the partner's pixels (Yun et al. 2019, arXiv:1905.04899).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.params.train import MixKind

Rows = NDArray[np.int64]
Box = tuple[int, int, int, int]
Generator = np.random.Generator


def no_mix(rng: Generator, alpha: float, size: int) -> tuple[float, Box | None]:
    """Return share 1: the row is not mixed."""
    return 1.0, None


def mixup(rng: Generator, alpha: float, size: int) -> tuple[float, Box | None]:
    """Return a share from Beta(alpha, alpha)."""
    return float(rng.beta(alpha, alpha)), None


def cutmix(rng: Generator, alpha: float, size: int) -> tuple[float, Box | None]:
    """Return the share outside the box, and the box (top, bottom, left, right) with a uniform centre and area 1 - Beta.

    A box that crosses the border of the image is clipped, which increases the share.
    """
    half = 0.5 * size * (1 - rng.beta(alpha, alpha)) ** 0.5
    centre = rng.uniform(0, size, 2)
    top, left = (int(value) for value in np.clip(np.round(centre - half), 0, size))
    bottom, right = (int(value) for value in np.clip(np.round(centre + half), 0, size))
    return 1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right)


# train.mix -> function(rng, alpha, size in pixels) -> (share of the row itself, box of the partner or None)
MIXES: dict[MixKind, Callable[[Generator, float, int], tuple[float, Box | None]]] = {
    "none": no_mix,
    "mixup": mixup,
    "cutmix": cutmix,
}


@dataclass(frozen=True)
class Mix:
    """For each row of a batch: the row it is mixed with, its own share, and for cutmix the box of the partner."""

    partner: Rows
    share: NDArray[np.float32]
    cut: Rows | None


def draw_mix(
    kind: MixKind, alpha: float, size: int, seeds: Sequence[tuple[int, int, int]], mixable: NDArray[np.bool_]
) -> Mix:
    """Draw the mix of a batch; `seeds` are (seed, epoch, row). Rows that are not `mixable` keep share 1."""
    count = len(seeds)
    partner, share, cut = np.arange(count), np.ones(count, np.float32), np.zeros((count, 4), np.int64)
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng((*seed, 4))
        other = int(rng.integers(count))
        own_share, box = MIXES[kind](rng, alpha, size)
        if mixable[index] and mixable[other]:
            partner[index], share[index] = other, own_share
            cut[index] = box or 0
    return Mix(partner, share, cut if kind == "cutmix" else None)

"""Paired randomisation test: if two systems are alike, swapping their results for a group changes nothing but chance.

All units of a group are swapped together (Fisher 1935; Smucker et al. 2007 for rankings). p = (count + 1) / (n + 1),
where `count` of n random swaps differ at least as much as the runs do (Phipson and Smyth 2010): p is never 0. The same
swaps serve every figure and every run, so that adjusted p values know how much the figures have in common.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline_lib.evaluation.additive import Additive, Values
from pipeline_lib.execution.meter import current_meter

SWAPS, MAX_GROUPS = 10_000, 20_000
ALPHA = 0.05
BLOCK_VALUES = 1 << 22
# Differences closer than this share of a figure's spread are equal: sums of the same numbers in another order.
EQUAL = 1e-9


@dataclass(frozen=True)
class Pair:
    """Two systems over the same units; `groups` (units,) numbers their groups across all pairs of one test."""

    first: Additive
    second: Additive
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class SwapResult:
    """Absolute differences (figures,), and those after each swap (swaps, figures), in units of `spread`.

    `spread` (figures,) is the root mean square of the differences over the swaps. `num_groups` groups differ in any
    figure, `differing` (figures,) in that pair of systems. With `exact` the swaps are all but the sample itself.
    """

    observed: Values
    swapped: Values
    spread: Values
    num_groups: int
    differing: NDArray[np.int64]
    exact: bool

    def p_values(self) -> Values:
        """Return the two-sided p value of each figure by itself, (figures,)."""
        reached = (self.swapped >= self.observed - EQUAL).sum(axis=0)
        return np.asarray((reached + 1) / (len(self.swapped) + 1))

    def adjusted(self, family: Sequence[int]) -> Values:
        """Return the p values of some figures, adjusted for all of them: step-down maxT (Westfall and Young 1993).

        The figure with the largest difference is compared with the largest of all in each swap, the next one with the
        largest of the others.
        """
        chosen = np.array(family, dtype=np.int64)
        order = chosen[np.argsort(-self.observed[chosen], kind="stable")]
        largest = np.zeros(len(self.swapped))
        reached = {}
        for figure in order[::-1].tolist():
            largest = np.maximum(largest, self.swapped[:, figure])
            reached[figure] = int((largest >= self.observed[figure] - EQUAL).sum())
        counts = np.maximum.accumulate([reached[figure] for figure in order.tolist()])
        by_figure = dict(zip(order.tolist(), (counts + 1) / (len(self.swapped) + 1), strict=True))
        return np.array([by_figure[figure] for figure in chosen.tolist()])

    def critical(self, family: Sequence[int]) -> float:
        """Return the difference, in units of the spread, from which on the largest figure of a family is significant.

        It is infinite where there are too few groups for any difference to be.
        """
        if 2.0 ** (1 - int(self.differing[list(family)].max())) > ALPHA:
            return np.inf
        largest = np.sort(self.swapped[:, list(family)].max(axis=1))[::-1]
        allowed = int(np.floor(ALPHA * (len(largest) + 1) + EQUAL)) - 1
        return float(largest[allowed])


def randomise(pairs: Sequence[Pair], swaps: int = SWAPS, seed: int = 0) -> SwapResult:
    """Return the differences of all figures of all pairs, in their order, and those after swaps of whole groups.

    If there are no more than `swaps` ways to swap, each is taken once. Memory is one block of swaps. Raises ValueError
    without a pair.
    """
    if not pairs:
        raise ValueError("no pair of systems to compare")
    changes, totals = [], []
    num_groups = max(int(pair.groups.max()) for pair in pairs) + 1
    for pair in pairs:
        first, second = (system.group_sums(pair.groups, num_groups) for system in (pair.first, pair.second))
        change = sparse.csr_array(second - first)
        change.eliminate_zeros()
        changes.append(change)
        totals.append([np.asarray(sums.sum(axis=0))[None, :] for sums in (first, second)])
    # Swapping a group in which nothing differs changes nothing.
    differ = np.any([np.diff(change.indptr) > 0 for change in changes], axis=0)
    number = int(differ.sum())
    changes = [change[differ] for change in changes]
    # A swap has a value for each group, and its sums one for each column: 2 x classes and more for class figures.
    blocks, total = _swap_blocks(number, swaps, seed, _block_rows(number, *(change.shape[1] for change in changes)))

    def differences(chosen: Values) -> Values:
        parts = []
        for pair, change, (first, second) in zip(pairs, changes, totals, strict=True):
            moved = (change.T @ chosen.T).T
            parts.append(pair.second.finish(second - moved) - pair.first.finish(first + moved))
        return np.concatenate(parts, axis=1)

    counted = current_meter().over(blocks, "swaps of groups", total, len)
    found = np.concatenate([differences(np.zeros((1, number))), *(differences(block) for block in counted)])
    spread = np.sqrt((found**2).mean(axis=0))
    sizes = np.abs(found) / np.where(spread > 0, spread, 1.0)
    own = [
        np.full(len(pair.first.names), np.sum(np.diff(part.indptr) > 0))
        for pair, part in zip(pairs, changes, strict=True)
    ]
    return SwapResult(sizes[0], sizes[1:], spread, number, np.concatenate(own), _are_few(number, swaps))


def merged_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups (units,) merged at random into at most MAX_GROUPS.

    To swap merged groups together is a randomisation test, too, and the cost no longer grows with the catalogue.
    """
    num_groups = int(groups.max()) + 1
    if num_groups <= MAX_GROUPS:
        return groups
    merged: NDArray[np.int64] = (np.random.default_rng(0).permutation(num_groups) % MAX_GROUPS)[groups]
    return merged


def mean_intervals(gains: Values, groups: NDArray[np.int64], swaps: int = SWAPS, seed: int = 0) -> Values:
    """Return the 95 % intervals (figures, 2) of means of `gains` (units, figures): the shifts that no test rejects.

    A shift x of the mean is rejected if the test rejects gains without it. After signs s of the groups, whose sums of
    centred gains are C and whose signed sizes are B, x > 0 is as extreme as the sample up to |C| / (N + sign(C) B), and
    x < 0 down to -|C| / (N - sign(C) B); so each limit is a quantile. Student's t of the groups covers 90 % where one
    group has half of the units. The limits are infinite for too few groups.
    """
    units, figures = gains.shape
    num_groups = int(groups.max()) + 1
    sizes, means = np.bincount(groups).astype(np.float64), gains.mean(axis=0)
    centred = np.stack([np.bincount(groups, gains[:, place]) for place in range(figures)], axis=1)
    centred -= sizes[:, None] * means
    blocks, total = _swap_blocks(num_groups, swaps, seed, _block_rows(num_groups, figures))
    reaches = []
    for block in current_meter().over(blocks, "swaps for intervals", total, len):
        sums, signed = -2 * (block @ centred), (units - 2 * (block @ sizes))[:, None]  # centred sums are 0 together
        sums = np.where(np.abs(sums) < EQUAL, 0, sums)
        side = np.sign(sums) * signed
        ends = [np.abs(sums) / np.maximum(units + sign * side, EQUAL) for sign in (1, -1)]
        # All groups swapped is the sample itself with the other sign.
        reaches.append(np.where(np.abs(signed) >= units, np.inf, np.stack(ends)))
    found = np.concatenate([np.zeros((2, 0, figures)), *reaches], axis=1)
    allowed = int(np.floor(ALPHA * (found.shape[1] + 1) + EQUAL))
    if allowed == 0:
        return np.tile([-np.inf, np.inf], (figures, 1))
    above, below = np.sort(found, axis=1)[:, -allowed]
    return np.stack([means - below, means + above], axis=1)


def sign_p_values(changes: Values, swaps: int = SWAPS, seed: int = 0) -> Values:
    """Return the two-sided p value (figures,) of the sum of each column of `changes` (groups, figures) under swaps.

    A swap turns the sign of a group's change. So it is with a figure that is a sum over units.
    """
    changes = changes[(changes != 0).any(axis=1)]
    num_groups, figures = changes.shape
    blocks, total = _swap_blocks(num_groups, swaps, seed, _block_rows(num_groups, figures))
    sums, reached = changes.sum(axis=0), np.ones(figures)
    for block in blocks:
        reached += (np.abs(sums - 2 * (block @ changes)) >= np.abs(sums) - EQUAL).sum(axis=0)
    return np.asarray(reached / (total + 1))


def _block_rows(*widths: int) -> int:
    """Return how many swaps are a block, if the arrays of one swap have these `widths`."""
    return max(1, BLOCK_VALUES // max(*widths, 1))


def _are_few(num_groups: int, swaps: int) -> bool:
    """Return whether there are no more than `swaps` ways to swap some of the groups."""
    return num_groups < 63 and 2**num_groups <= swaps + 1


def _swap_blocks(num_groups: int, swaps: int, seed: int, rows: int) -> tuple[Iterator[Values], int]:
    """Return blocks of `rows` swaps, all ways to swap if they are few and else random ones, and their number."""
    if _are_few(num_groups, swaps):
        return _all_swaps(num_groups, rows), 2**num_groups - 1
    return _random_swaps(num_groups, swaps, seed, rows), swaps


def _random_swaps(num_groups: int, swaps: int, seed: int, rows: int) -> Iterator[Values]:
    """Yield blocks (rows, groups) of 0 and 1 at random; the draws do not depend on the size of a block."""
    rng = np.random.default_rng(seed)
    width = 4 * -(-num_groups // 32)  # bytes of complete words: the generator drops the rest of one
    for start in range(0, swaps, rows):
        drawn = rng.bytes(min(rows, swaps - start) * width)
        bits = np.unpackbits(np.frombuffer(drawn, np.uint8).reshape(-1, width), axis=1)
        yield bits[:, :num_groups].astype(np.float64)


def _all_swaps(num_groups: int, rows: int) -> Iterator[Values]:
    """Yield blocks (rows, groups) of every way to swap some of the groups, without the one that swaps none."""
    numbers = np.arange(1, 2**num_groups)
    for start in range(0, len(numbers), rows):
        part = numbers[start : start + rows, None]
        yield ((part >> np.arange(num_groups)) & 1).astype(np.float64)

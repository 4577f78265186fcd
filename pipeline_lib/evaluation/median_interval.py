"""95 % intervals of a median and of the difference of two, by the sign test of Dixon and Mood (1946) over groups.

The order statistics of Woodruff (1952) with Student's t cover as little as 76 % where one group has half of the units,
because a large group pulls the median to itself. Ranks are whole numbers, so these intervals are rather too wide.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.evaluation.jackknife import Difference, t_quantile
from pipeline_lib.evaluation.randomisation import ALPHA, SWAPS, merged_groups, sign_p_values
from pipeline_lib.metrics.tied_ranks import TiedRanks, weighted_median_ranks

Values = NDArray[np.float64]
Groups = NDArray[np.int64]
# A sum of random signs is beyond 1 standard deviation in 7 of 32 cases at least (Hollom and Portier 2023), and beyond
# this many in fewer than ALPHA (Hoeffding 1963). Only what lies between the two needs random signs.
NEVER, ALWAYS = 1.0, float(np.sqrt(2 * np.log(2 / ALPHA)))
AT_ONCE = 32  # candidates that share the signs


def median_interval(values: Values, groups: Groups, swaps: int = SWAPS, seed: int = 0) -> tuple[float, float]:
    """Return the interval of the median of `values` (units,): those that the sign test does not reject as a median.

    Where too few groups can reject any value, the interval ends with the smallest or the largest one.
    """
    low, high = _limits(values, groups, swaps, seed)
    return max(low, float(values.min())), min(high, float(values.max()))


def median_difference(
    first: TiedRanks, second: TiedRanks, groups: Groups, swaps: int = SWAPS, seed: int = 0
) -> Difference:
    """Return the median rank of `second` minus that of `first`, with the interval of Zou and Donner (2008).

    The distances of the medians from the limits of their own intervals are added as if the two were independent, so the
    interval is too wide for systems that agree. It is infinite where too few groups bound one of the medians. A
    jackknife would be too narrow: a median of whole numbers is often the same without any one group.
    """
    medians, limits = [], []
    for ranks in (first, second):
        median = float(weighted_median_ranks(ranks, np.ones((1, len(ranks))))[0])
        low, high = _limits(ranks.expected(), groups, swaps, seed)
        medians.append(median)
        limits.append((max(median - low, 0), max(high - median, 0)))
    difference = medians[1] - medians[0]
    if np.isinf(limits).any():
        return Difference(difference, -np.inf, np.inf)
    below, above = np.hypot(limits[1], limits[0][::-1])
    return Difference(difference, float(difference - below), float(difference + above))


def median_variance(first: TiedRanks, second: TiedRanks, groups: Groups, swaps: int = SWAPS, seed: int = 0) -> float:
    """Return the variance over queries for which Student's interval is as wide as that of `median_difference`."""
    span = median_difference(first, second, groups, swaps, seed)
    return float((span.high - span.low) / 2 / t_quantile(int(groups.max()) + 1)) ** 2


def _limits(values: Values, groups: Groups, swaps: int, seed: int) -> tuple[float, float]:
    """Return the limits of the median of `values`, infinite where too few groups can reject any value."""
    groups = merged_groups(groups)
    return -_upper_limit(-values, groups, swaps, seed), _upper_limit(values, groups, swaps, seed)


def _upper_limit(values: Values, groups: Groups, swaps: int, seed: int) -> float:
    """Return the largest of the values of which the sign test does not find that more than half lie below it.

    The larger a value, the more lie below it. The sign of a group is that of all its units.
    """
    ends = np.append(np.unique(values), np.inf)

    def changes(places: list[int]) -> Values:
        return np.stack([np.bincount(groups, (values < ends[place]) - 0.5) for place in places], axis=1)

    def within(deviations: float) -> Callable[[int], bool]:
        def is_within(place: int) -> bool:
            change = changes([place])
            return bool(change.sum() <= deviations * np.sqrt((change**2).sum()))

        return is_within

    inside = _last(within(NEVER), 0, len(ends) - 1)
    outside = _last(within(ALWAYS), inside, len(ends) - 1) + 1
    while outside - inside > 1:
        between = np.unique(np.linspace(inside + 1, outside - 1, AT_ONCE).astype(int)).tolist()
        found = changes(between)
        rejected = (found.sum(axis=0) > 0) & (sign_p_values(found, swaps, seed) <= ALPHA)
        place = int(np.argmax([*rejected, True]))
        inside, outside = [inside, *between][place], [*between, outside][place]
    return float(ends[inside])


def _last(is_true: Callable[[int], bool], start: int, stop: int) -> int:
    """Return the last number from `start`, which is taken as true, to `stop` for which `is_true`, by bisection."""
    while start < stop:
        middle = -(-(start + stop) // 2)
        start, stop = (middle, stop) if is_true(middle) else (start, middle - 1)
    return start

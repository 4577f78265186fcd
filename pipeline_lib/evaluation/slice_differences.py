"""Differences of means in slices of the units: the test and intervals of the whole, with p values of one family.

Student's t of the grouped variance of a slice calls chance a gain in up to 21 % of slices of 30 queries in groups of up
to 30. Slices overlap and move together, so those of checkpoints are adjusted by step-down maxT over the same swaps.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline_lib.evaluation.additive import Additive
from pipeline_lib.evaluation.randomisation import Pair, mean_intervals, merged_groups, randomise
from pipeline_lib.evaluation.setting_difference import holm, setting_differences
from pipeline_lib.metrics.weighted import Statistic, weighted_means

Values = NDArray[np.float64]
Groups = NDArray[np.int64]
Slices = Sequence[NDArray[np.int64]]  # rows of the units of each slice; they may overlap
MOST_VALUES = 1 << 23  # of slices x swaps in memory
FEWEST_SWAPS = 999


def checkpoint_slices(
    runs: Sequence[Values], groups: Groups, slices: Slices, swaps: int, seed: int
) -> tuple[Values, Values]:
    """Return limits (others, slices, 2) and adjusted p values (others, slices) of each other run minus the first.

    `runs` are values (units,) that are averaged, `groups` (units,) are swapped as a whole. With very many slices there
    are fewer swaps than `swaps`.
    """
    sizes = np.array([len(rows) for rows in slices], dtype=np.float64)
    members = sparse.csc_array(
        (np.ones(int(sizes.sum())), np.concatenate(slices), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
        shape=(len(groups), len(slices)),
    )
    names = tuple(map(str, range(len(slices))))
    systems = [
        Additive(names, sparse.csr_array(members.multiply(one[:, None])), lambda sums: sums / sizes) for one in runs
    ]
    figures = len(slices) * (len(runs) - 1)
    swaps = min(swaps, max(FEWEST_SWAPS, MOST_VALUES // figures))
    groups = merged_groups(groups)
    test = randomise([Pair(systems[0], other, groups) for other in systems[1:]], swaps, seed)
    gains = np.stack([other - runs[0] for other in runs[1:]], axis=1)
    limits = [mean_intervals(gains[rows], _numbered(groups[rows]), swaps, seed) for rows in slices]
    return np.stack(limits, axis=1), test.adjusted(range(figures)).reshape(-1, len(slices))


def setting_slices(
    settings: Sequence[Sequence[Values]], groups: Groups, slices: Slices, paired: Sequence[bool]
) -> tuple[Values, Values]:
    """Return the same of settings, each with the values of its seeds: intervals of queries and seeds, p by Holm.

    `paired` says of each setting whether its seeds are those of the first.
    """
    found = [
        setting_differences(
            [_mean(run[rows]) for run in settings[0]],
            [_mean(run[rows]) for run in other],
            _numbered(groups[rows]),
            paired[number],
        )
        for number, other in enumerate(settings[1:], 1)
        for rows in slices
    ]
    limits = np.array([(one.low[0], one.high[0]) for one in found])
    p_values = np.array(holm([float(one.p_values[0]) for one in found]))
    return limits.reshape(-1, len(slices), 2), p_values.reshape(-1, len(slices))


def _mean(values: Values) -> Statistic:
    return lambda counts: weighted_means(values[:, None], counts)


def _numbered(groups: Groups) -> Groups:
    """Return groups with the numbers from 0 that a slice has."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)

"""How often the 95 % intervals cover the true figure: simulated catalogues of 20 to 2,000 grouped queries and products.

    python bench/coverage.py                     # all sizes, hours on one core
    python bench/coverage.py --factor .1         # a tenth of the samples
    python bench/coverage.py --units 2000 --only classified

The percentile bootstrap stands beside ours. Groups have 1 to 4 members that are right and wrong together with
correlation 0.5; the true figure is that of a population of 100,000.
"""

import argparse
from collections import defaultdict

import numpy as np
from scipy.special import ndtri

from pipeline_lib.evaluation.calibration_interval import calibration_interval
from pipeline_lib.evaluation.intervals import mean_interval
from pipeline_lib.evaluation.jackknife import paired_differences
from pipeline_lib.evaluation.median_interval import median_difference, median_interval
from pipeline_lib.evaluation.summary import PUBLISHED, published, with_intervals
from pipeline_lib.metrics.classification import ClassScores
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_statistic
from pipeline_lib.metrics.tied_ranks import TiedRanks
from pipeline_lib.metrics.weighted import point

SIZES = (20, 60, 200, 600, 2000)
POPULATION = 100_000
RESAMPLES = 500
SAMPLES = 1000


def groups_of(rng, units):
    sizes = rng.choice([1, 1, 1, 2, 3, 4], units)
    return np.repeat(np.arange(units), sizes)[:units]


def within(rng, groups, correlation=0.5):
    """Return uniform values (units,); each is its group's with the probability `correlation`."""
    by_group = rng.random(groups.max() + 1)[groups]
    return np.where(rng.random(len(groups)) < correlation, by_group, rng.random(len(groups)))


def products(rng, groups, accuracy):
    """Return truth and probabilities of products whose classes are predicted with `accuracy` (classes,)."""
    classes = len(accuracy)
    share = 1 / np.arange(1, classes + 1) ** 0.7
    truth = rng.choice(classes, groups.max() + 1, p=share / share.sum())[groups]
    right = within(rng, groups) < accuracy[truth]
    predicted = np.where(right, truth, (truth + rng.integers(1, classes, len(groups))) % classes)
    confidence = np.clip(accuracy[truth] + rng.normal(0.02, 0.05, len(groups)), 1.01 / classes, 0.999)
    rest = (1 - confidence) / (classes - 1)
    probabilities = np.repeat(rest[:, None], classes, axis=1)
    probabilities[np.arange(len(groups)), predicted] = confidence
    return truth, probabilities


def ranks(rng, groups, spread):
    return ranks_at(within(rng, groups), spread)


def ranks_at(luck, spread):
    drawn = np.exp(1 + spread * ndtri(np.clip(luck, 1e-6, 1 - 1e-6)))
    return TiedRanks(np.minimum(np.ceil(drawn), 1000).astype(np.int64) - 1, np.ones(len(luck)), np.zeros(len(luck)))


def percentile(rng, statistic, groups):
    number = groups.max() + 1
    counts = rng.multinomial(number, np.full(number, 1 / number), RESAMPLES)[:, groups].astype(float)
    return np.percentile(statistic(counts), [2.5, 97.5], axis=0).T


def classified(rng, units, add):
    classes = {20: 2, 60: 4, 200: 8, 600: 20, 2000: 40}[units]
    accuracy = rng.uniform(0.6, 0.98, classes)
    population = ClassScores.of(*products(rng, np.arange(POPULATION), accuracy))
    true = point(published(population), POPULATION)
    while True:
        groups = groups_of(rng, units)
        truth, probabilities = products(rng, groups, accuracy)
        if len(np.unique(truth)) == classes:  # macro figures of a class that is not there are another figure
            break
    scores = ClassScores.of(truth, probabilities)
    add_all(rng, add, true, PUBLISHED, published(scores), groups, {"ece": calibration_interval(scores, groups)})


def add_all(rng, add, true, names, statistic, groups, own):
    """Add every figure's published interval and that of the percentile bootstrap."""
    _, ours = with_intervals(statistic, names, groups, own)
    for name, value, other in zip(names, true, percentile(rng, statistic, groups), strict=True):
        add(name, value, ours[name], other)


def ranked(rng, units, add):
    spread = rng.uniform(0.5, 1.5)
    truth = point(rank_statistic(ranks(rng, np.arange(POPULATION), spread)), POPULATION)
    groups = groups_of(rng, units)
    sample = ranks(rng, groups, spread)
    own = {
        "median_rank": median_interval(sample.expected(), groups),
        "mean_rank": mean_interval(sample.expected(), groups, RESAMPLES, 1),
    }
    add_all(rng, add, truth, RANK_FIGURES, rank_statistic(sample), groups, own)


def compared(rng, units, add):
    """The gain of a second system that shares most of the first one's luck."""
    groups, spreads = groups_of(rng, units), rng.uniform(0.5, 1.5, 2)

    def systems(luck):
        own = np.where(rng.random(len(luck)) < 0.7, luck, rng.random(len(luck)))
        return ranks_at(luck, spreads[0]), ranks_at(own, spreads[1])

    whole = [rank_statistic(one) for one in systems(rng.random(POPULATION))]
    true = dict(zip(RANK_FIGURES, np.subtract(*(point(one, POPULATION) for one in whole[::-1])), strict=True))
    sample = systems(within(rng, groups))
    first, second = (rank_statistic(one) for one in sample)
    ours = dict(zip(RANK_FIGURES, paired_differences(first, second, groups), strict=True))
    ours["median_rank"] = median_difference(*sample, groups)
    others = percentile(rng, lambda counts: second(counts) - first(counts), groups)
    for name, other in zip(RANK_FIGURES, others, strict=True):
        if name in ("R@1", "median_rank", "mean_rank"):
            add(f"difference of {name}", true[name], ours[name][1:], other)


SIMULATIONS = {"classified": classified, "ranked": ranked, "compared": compared}


def coverage(units, samples, simulations, seed=0):
    """Return in how many percent of the samples each figure's interval covers it: ours, percentile bootstrap."""
    hits = defaultdict(lambda: np.zeros(2))

    def add(name, value, own, other):
        hits[name] += [low - 1e-9 <= value <= high + 1e-9 for low, high in (own, other)]

    rng = np.random.default_rng([units, seed])
    for _ in range(samples):
        for simulate in simulations:
            simulate(rng, units, add)
    return {name: 100 * covered / samples for name, covered in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--units", type=int, nargs="*", choices=SIZES, default=SIZES)
    parser.add_argument("--only", nargs="*", choices=list(SIMULATIONS), default=list(SIMULATIONS))
    options = parser.parse_args()
    samples = int(SAMPLES * options.factor)
    table = defaultdict(dict)
    for units in options.units:
        for name, covered in coverage(units, samples, [SIMULATIONS[name] for name in options.only]).items():
            table[name][units] = covered
    print("Coverage of the 95 % interval in %, ours (percentile bootstrap), by the number of grouped units\n")
    print("| figure |" + "".join(f" {units} |" for units in options.units) + "\n|---|" + "---|" * len(options.units))
    for name, row in table.items():
        print(f"| {name} |" + "".join(f" {own:.1f} ({other:.1f}) |" for own, other in row.values()))
    print(f"\nSamples: {samples} of each size")


if __name__ == "__main__":
    main()

"""How often `vitrine compare` is right: simulated grouped rankings of two runs or settings, with the truth known.

Run it as `python bench/comparison.py [samples]`. In each sample the two runs are exchangeable, so that every verdict
but "no significant difference" is a false positive, and each interval should cover 0. bench/RESULTS.md has the table.
"""

import sys
from collections import defaultdict

import numpy as np

from pipeline_lib.evaluation.additive import rank_columns
from pipeline_lib.evaluation.composed_protocols import MIN_SLICE
from pipeline_lib.evaluation.median_interval import median_difference, median_variance
from pipeline_lib.evaluation.randomisation import Pair, mean_intervals, randomise
from pipeline_lib.evaluation.setting_difference import holm, setting_differences
from pipeline_lib.evaluation.slice_differences import checkpoint_slices
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_statistic
from pipeline_lib.metrics.tied_ranks import untied

SAMPLES, SWAPS, GALLERY = 2000, 999, 2000
FIGURES = ("R@1", "R@5", "R@10", "MeanRecall", "mean_rank")
# Name -> sizes of groups, each as probable as it is often listed, and the share of a query's luck that its group has.
STRUCTURES = {
    "each query by itself": ((1,), 0.0),
    "1 to 4, alike by half": ((1, 1, 1, 2, 3, 4), 0.5),
    "5 captions of an image": ((5,), 0.7),
    "1 to 30, very unequal": ((1, 1, 1, 1, 2, 2, 4, 8, 30), 0.8),
}


def groups_of(rng, units, sizes):
    """Return the group of each unit, (units,)."""
    drawn = rng.choice(sizes, units)
    return np.repeat(np.arange(units), drawn)[:units]


def luck(rng, groups, share):
    """Return standard normal values (units,); members of a group have the correlation `share`."""
    own, together = rng.standard_normal(len(groups)), rng.standard_normal(groups.max() + 1)[groups]
    return np.sqrt(share) * together + np.sqrt(1 - share) * own


def ranks_at(values):
    """Return ranks that are log-normal: median 4, a tenth below 1 and a tenth above 30, at most GALLERY."""
    return untied(np.clip(np.ceil(np.exp(1.4 + 1.6 * values)), 1, GALLERY))


def runs_of(rng, groups, share, number=2):
    """Return runs that have half of their luck in common: queries that are hard for one are hard for the other."""
    common = luck(rng, groups, share)
    return [ranks_at(np.sqrt(0.5) * common + np.sqrt(0.5) * luck(rng, groups, share)) for _ in range(number)]


def checkpoints(rng, units, structure):
    """Return by name whether each interval covers 0, whether each test errs by itself, and whether the family does."""
    sizes, share = STRUCTURES[structure]
    groups = groups_of(rng, units, sizes)
    first, second = runs_of(rng, groups, share)
    pooled = float(np.median(np.concatenate([first.expected(), second.expected()])))
    units_of = [[*(run.hits(k) for k in (1, 5, 10)), run.expected()] for run in (first, second)]
    values = [np.stack([*own[:3], np.mean(own[:3], axis=0), own[3]], axis=1) for own in units_of]
    spans = dict(zip(FIGURES, mean_intervals(values[1] - values[0], groups, SWAPS, 1), strict=True))
    test = randomise([Pair(rank_columns(first, pooled), rank_columns(second, pooled), groups)], SWAPS, 1)
    p_values = dict(zip(RANK_FIGURES, test.p_values(), strict=True))
    spans["median_rank"] = median_difference(first, second, groups, SWAPS, 1)[1:]
    found = {f"interval of {name}": span[0] <= 0 <= span[1] for name, span in spans.items()}
    found |= {f"test of {name}": p_values[name] <= 0.05 for name in (*FIGURES, "median_rank")}
    return found | {"any of 6, adjusted": test.adjusted(range(6)).min() <= 0.05}


def slices(rng, units, structure):
    """Return the same of MeanRecall in slices: four categories of whole groups, and three lengths of single queries."""
    sizes, share = STRUCTURES[structure]
    groups = groups_of(rng, units, sizes)
    values = [np.mean([run.hits(k) for k in (1, 5, 10)], axis=0) for run in runs_of(rng, groups, share)]
    columns = [(rng.permutation(groups.max() + 1) % 4)[groups], rng.integers(0, 3, units)]
    rows = [np.flatnonzero(column == value) for column in columns for value in range(column.max() + 1)]
    rows = [one for one in rows if len(one) >= MIN_SLICE]
    if not rows:
        return {}
    limits, p_values = checkpoint_slices(values, groups, rows, SWAPS, 1)
    _, alone = checkpoint_slices(values, groups, rows[:1], SWAPS, 1)
    found = {
        "interval of a slice": limits[0, 0, 0] <= 0 <= limits[0, 0, 1],
        "test of a slice alone": alone[0, 0] <= 0.05,
    }
    return found | {"any slice, adjusted": p_values.min() <= 0.05}


def settings(rng, units, seeds, deviation, paired=False):
    """Return the same of two settings whose seeds move the ranks of all queries, by `deviation` of a query's luck."""
    sizes, share = STRUCTURES["1 to 4, alike by half"]
    groups = groups_of(rng, units, sizes)
    common, own = luck(rng, groups, share), [luck(rng, groups, share) for _ in range(2)]
    together = rng.standard_normal(seeds) if paired else np.zeros(seeds)
    sides = []
    for part in own:  # a setting is good at some queries, whatever its seed; a seed at others
        moves = deviation * (np.sqrt(0.5) * together + np.sqrt(0.5 if paired else 1) * rng.standard_normal(seeds))
        mixed = [0.7 * common + 0.4 * part + 0.59 * luck(rng, groups, share) + move for move in moves]
        sides.append([ranks_at(values) for values in mixed])
    own = {RANK_FIGURES.index("median_rank"): median_variance(sides[0][0], sides[1][0], groups, SWAPS, 1)}
    statistics = [[rank_statistic(ranks) for ranks in side] for side in sides]
    found = setting_differences(*statistics, groups, paired, own)
    covered = dict(zip(RANK_FIGURES, (found.low <= 0) & (found.high >= 0), strict=True))
    covered = {f"interval of {name}": covered[name] for name in ("R@1", "MeanRecall", "mean_rank", "median_rank")}
    return covered | {"any of 6, adjusted by Holm": min(holm(found.p_values.tolist())) <= 0.05}


def rates(simulate, samples, seed, *arguments):
    """Return in how many percent of the samples each thing was so, by name."""
    rng, found = np.random.default_rng(seed), defaultdict(list)
    for _ in range(samples):
        for name, value in simulate(rng, *arguments).items():
            found[name].append(bool(value))
    return {name: 100 * sum(values) / len(values) for name, values in found.items()}


def table(title, columns):
    """Print a table of rates; `columns` are by heading."""
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in next(iter(columns.values())):
        print(f"| {name} | {' | '.join(f'{column[name]:.1f}' for column in columns.values())} |", flush=True)


def main(samples: int) -> None:
    for units in (60, 200, 600):
        columns = {name: rates(checkpoints, samples, units, units, name) for name in STRUCTURES}
        table(
            f"Checkpoints, {units} queries: coverage of the 95 % intervals, false positives of the 5 % tests, in %",
            columns,
        )
    for units in (60, 200, 600):
        columns = {name: rates(slices, samples, units, units, name) for name in STRUCTURES}
        table(f"MeanRecall in slices of {units} queries: the same, in %", columns)
    columns = {
        f"{seeds} seeds, {deviation}{', paired' if paired else ''}": rates(
            settings, samples, seeds, 200, seeds, deviation, paired
        )
        for seeds in (2, 3, 5)
        for deviation in (0.0, 0.1, 0.4)
        for paired in (False, True)
        if deviation or not paired
    }
    table(
        "Settings, 200 queries: coverage of the 95 % intervals, false positives of the 5 % tests, in %, by the "
        "deviation between seeds",
        columns,
    )
    error = 100 * (0.05 * 0.95 / samples) ** 0.5
    print(f"\nSamples: {samples} a column, so the standard error of an entry is {error:.1f} points")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)

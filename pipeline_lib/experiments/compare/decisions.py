"""Decides which differences count: one declared figure is tested alone, all others are adjusted for one another.

Between checkpoints a randomisation test decides, between settings Student's t with the spread of queries and seeds.
The 95 % interval shows the size of a difference. It is adjusted for no other figure, so it may exclude 0 without one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipeline_lib.evaluation.jackknife import Difference, paired_differences, t_quantile
from pipeline_lib.evaluation.median_interval import median_difference, median_variance
from pipeline_lib.evaluation.randomisation import ALPHA, SWAPS, Pair, mean_intervals, merged_groups, randomise
from pipeline_lib.evaluation.setting_difference import holm, setting_differences
from pipeline_lib.experiments.compare.parts import LOWER_IS_BETTER, Part, System
from pipeline_lib.metrics.ranges import cut_difference
from pipeline_lib.metrics.weighted import point

# `run` is the letter of the run or setting that is compared with a; `b` its figure. `p` is of this figure alone,
# `p_adjusted` decides. `smallest` is the difference that would be found in 80 % of such test sets. `a_deviation` and
# `b_deviation` are standard deviations between seeds, null of a single run. `primary` marks the declared figure.
COMPARISON_SCHEMA: dict[str, "pl.DataType | type[pl.DataType]"] = {
    "split": pl.String,
    # text_to_image, text_to_image_subset, image_to_text, composed_KIND, composed_KIND_subset, classification or
    # judged_FOLD (of split `all`)
    "task": pl.String,
    "metric": pl.String,
    "run": pl.String,
    "a": pl.Float64,
    "b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_adjusted": pl.Float64,
    "smallest": pl.Float64,
    "a_deviation": pl.Float64,
    "b_deviation": pl.Float64,
    "primary": pl.Boolean,
    "verdict": pl.String,
}
NO_DIFFERENCE = "no significant difference"
POWER = 0.8
MEDIAN = "median_rank"
Row = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Settings:
    """How the test is made: the declared figure (split, task, metric) or None, the number of swaps, and their seed."""

    primary: Key | None
    swaps: int = SWAPS
    seed: int = 0


@dataclass(frozen=True)
class Decisions:
    """COMPARISON_SCHEMA rows, the name of the test whose adjusted p values decide, and how many intervals were cut.

    An interval is cut at the largest difference that its figure can have.
    """

    rows: pl.DataFrame
    test: str
    num_cut: int


def letter(number: int) -> str:
    """Return the letter of a run: a is the one that all others are compared with.

    >>> letter(0), letter(2)
    ('a', 'c')
    """
    return chr(ord("a") + number)


def decide(parts: Sequence[Part], paired: Sequence[bool], how: Settings) -> Decisions:
    """Return COMPARISON_SCHEMA rows of each setting but the first against the first, in every figure of all parts.

    `paired` says of each setting whether its seeds are those of the first.
    """
    several = any(len(runs) > 1 for part in parts for runs in part.systems)
    if several:
        rows, test = _setting_rows(parts, paired, how), "Student's t over queries and seeds, adjusted by Holm's method"
    else:
        rows, test = _checkpoint_rows(parts, how)
    widths = {(part.split, part.task, name): part.width(name) for part in parts for name in part.systems[0][0].names}
    num_cut = 0
    for row in rows:
        num_cut += _cut(row, widths[row["split"], row["task"], row["metric"]])
        row["verdict"] = verdict(row["difference"], row["p_adjusted"], row["metric"], row["run"])
    return Decisions(pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row"), test, num_cut)


def _cut(row: Row, width: float) -> bool:
    """Cut the limits of a row to what its figure can differ by, and return whether they were beyond.

    A smallest difference beyond it is none that could be found.
    """
    before = row["low"], row["high"]
    row["low"], row["high"] = cut_difference(before, width)
    if row["smallest"] is not None and row["smallest"] > width:
        row["smallest"] = None
    return (row["low"], row["high"]) != before


def verdict(difference: float, p_value: float, metric: str, run: str) -> str:
    """Return which run is better in a metric by the adjusted p value of the difference, `run` minus a.

    >>> verdict(0.1, 0.01, "R@1", "b"), verdict(0.1, 0.01, "mean_rank", "b"), verdict(0.1, 0.06, "R@1", "b")
    ('b is better', 'a is better', 'no significant difference')
    """
    if p_value > ALPHA or difference == 0:
        return NO_DIFFERENCE
    return f"{run if (difference > 0) != (metric in LOWER_IS_BETTER) else 'a'} is better"


def _checkpoint_rows(parts: Sequence[Part], how: Settings) -> tuple[list[Row], str]:
    """Return the rows of single runs, and their test: swaps of whole groups that all figures share.

    The interval of a mean holds the differences that this test does not reject, that of another figure is the paired
    jackknife's.
    """
    names = _all_groups(parts)
    numbers = dict(zip(names, merged_groups(np.arange(len(names))).tolist(), strict=True))
    rows: list[Row] = []
    pairs = []
    for part in parts:
        own = part.units["group_id"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy()
        first = part.systems[0][0]
        for number, (second,) in enumerate(part.systems[1:], 1):
            pairs.append(Pair(first.additive, second.additive, own))
            rows += _checkpoint_figures(part, number, first, second, how)
    test = randomise(pairs, how.swaps, how.seed)
    alone = test.p_values()
    for family in families(rows):
        adjusted, critical = test.adjusted(family), test.critical(family)
        for place, figure in enumerate(family):
            row = rows[figure]
            error, further = row.pop("error"), t_power(row.pop("df"))
            row |= {"p": alone[figure], "p_adjusted": adjusted[place], "smallest": None}
            # The test of a median counts queries, so its spread is no rank.
            if np.isfinite(critical) and error > 0 and row["metric"] != MEDIAN:
                row["smallest"] = critical * test.spread[figure] + further * error
    if not test.num_groups:
        return rows, "nothing to test: the runs are alike in every query and product"
    swaps = f"{'all ' if test.exact else ''}{len(test.swapped):,} {'' if test.exact else 'random '}swaps"
    return rows, f"randomisation test, {swaps} of the {test.num_groups:,} groups that differ, step-down maxT"


def _checkpoint_figures(part: Part, number: int, first: System, second: System, how: Settings) -> list[Row]:
    groups = part.groups
    gains = dict(zip(first.names, paired_differences(first.statistic, second.statistic, groups), strict=True))
    if MEDIAN in gains and first.ranks is not None and second.ranks is not None:
        gains[MEDIAN] = median_difference(first.ranks, second.ranks, groups, how.swaps, how.seed)
    means = [name for name in first.names if name in first.by_unit]
    changes = np.stack([second.by_unit[name] - first.by_unit[name] for name in means], axis=1)
    for name, (low, high) in zip(
        means, mean_intervals(changes, merged_groups(groups), how.swaps, how.seed).tolist(), strict=True
    ):
        gains[name] = gains[name]._replace(low=low, high=high)
    values = [point(system.statistic, len(groups)) for system in (first, second)]
    df = int(groups.max()) + 1
    return [
        _row(part, metric, number, (a, b), gain, how)
        | {"error": (gain.high - gain.low) / 2 / t_quantile(df) if df > 1 else np.inf, "df": df}
        for (metric, gain), a, b in zip(gains.items(), *(one.tolist() for one in values), strict=True)
    ]


def _setting_rows(parts: Sequence[Part], paired: Sequence[bool], how: Settings) -> list[Row]:
    """Return the rows of settings with several runs: intervals and p values of queries and seeds together."""
    rows: list[Row] = []
    for part in parts:
        groups, first = part.groups, part.systems[0]
        figures = [np.stack([point(one.statistic, len(groups)) for one in systems]) for systems in part.systems]
        for number, second in enumerate(part.systems[1:], 1):
            sides = [[one.statistic for one in systems] for systems in (first, second)]
            own = _median_variance(first, second, groups, how)
            found = setting_differences(sides[0], sides[1], groups, paired[number], own)
            means = (figures[0].mean(axis=0), figures[number].mean(axis=0))
            deviations = [_deviations(figures[place]) for place in (0, number)]
            for place, metric in enumerate(first[0].names):
                gain = Difference(*(float(one[place]) for one in (found.differences, found.low, found.high)))
                row = _row(part, metric, number, (float(means[0][place]), float(means[1][place])), gain, how)
                row |= {"a_deviation": deviations[0][place], "b_deviation": deviations[1][place]}
                rows.append(row | {"p": float(found.p_values[place]), "variances": found.variances.of(place)})
    for family in families(rows):
        adjusted = holm([rows[figure]["p"] for figure in family])
        for p_value, figure in zip(adjusted, family, strict=True):
            (smallest,) = rows[figure].pop("variances").smallest(ALPHA / 2 / len(family), POWER).tolist()
            rows[figure] |= {"p_adjusted": p_value, "smallest": smallest if 0 < smallest < np.inf else None}
    return rows


def families(rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return the places of the declared figure's rows, one a run, and those of all other rows."""
    found = ([place for place, row in enumerate(rows) if row["primary"] == primary] for primary in (True, False))
    return [family for family in found if family]


def _row(part: Part, metric: str, number: int, values: tuple[float, float], gain: Difference, how: Settings) -> Row:
    place = {"split": part.split, "task": part.task, "metric": metric, "run": letter(number)}
    found = {"a": values[0], "b": values[1], "difference": gain.difference, "low": gain.low, "high": gain.high}
    return place | found | {"primary": (part.split, part.task, metric) == how.primary}


def _median_variance(
    first: list[System], second: list[System], groups: NDArray[np.int64], how: Settings
) -> dict[int, float]:
    """Return the variance of the difference of two medians over queries: that of the first runs."""
    one, other = first[0].ranks, second[0].ranks
    if one is None or other is None or groups.max() == 0:
        return {}
    return {first[0].names.index(MEDIAN): median_variance(one, other, groups, how.swaps, how.seed)}


def _deviations(figures: NDArray[np.float64]) -> list[float | None]:
    if len(figures) == 1:
        return [None] * figures.shape[1]
    return [float(value) for value in figures.std(axis=0, ddof=1)]


def _all_groups(parts: Sequence[Part]) -> list[str]:
    """Return the groups of all parts: texts and photos of one product are swapped together."""
    return pl.concat([part.units["group_id"] for part in parts]).unique().sort().to_list()


def t_power(num_groups: int) -> float:
    """Return the quantile of Student's t that a difference must lie beyond the critical one to be found in 80 %."""
    return float(stdtrit(max(num_groups - 1, 1), POWER))

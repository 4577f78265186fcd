"""Compares runs, or settings with several seeds: figures with verdicts, wins and losses, slices, queries that changed.

The first run is the one that all others are compared with.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline_lib.evaluation.randomisation import SWAPS
from pipeline_lib.execution.meter import current_meter
from pipeline_lib.experiments.compare.changes import COUNTS_SCHEMA, Changed, counts, most_changed
from pipeline_lib.experiments.compare.decisions import Decisions, Key, Settings, decide, letter
from pipeline_lib.experiments.compare.judged import ALL
from pipeline_lib.experiments.compare.kinds import kind_of, overlap, tasks_of
from pipeline_lib.experiments.compare.parts import PRODUCTS, Part
from pipeline_lib.experiments.compare.settings import Setting, by_seed, check_setting, paired_seeds
from pipeline_lib.experiments.compare.slices import slice_rows
from pipeline_lib.experiments.compare.test_sets import Overlap

# In the order of the tables, and of what is declared by default.
SPLITS = ("test", "oof", ALL)
NO_PRIMARY = "none"
MAX_RUNS = 26


@dataclass(frozen=True)
class Options:
    """What is asked: the declared figure (see `find_primary`), the tasks to limit it to, and how much is listed."""

    primary: str = ""
    only: Sequence[str] = ()
    swaps: int = SWAPS
    changed: int = 5


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison; `figure` is the one that counts, slices and changed queries are about."""

    settings: list[Setting]
    primary: Key | None
    figure: Key
    decisions: Decisions
    counts: pl.DataFrame
    slices: pl.DataFrame
    slices_left_out: int
    changed: list[Changed]
    left_out: list[str]

    @property
    def rows(self) -> pl.DataFrame:
        """Return the COMPARISON_SCHEMA rows."""
        return self.decisions.rows

    @property
    def letters(self) -> dict[str, Setting]:
        """Return the settings by their letter, a first."""
        return {letter(number): setting for number, setting in enumerate(self.settings)}


def compare(settings: Sequence[Setting], options: Options) -> Comparison:
    """Return the comparison of each setting with the first.

    Raises ValueError for fewer than two settings, for runs of a setting that are none, for a run that is named twice,
    for test sets that differ, for runs with nothing in common, and for a declared figure that they do not have.
    """
    if not 2 <= len(settings) <= MAX_RUNS:
        raise ValueError(f"{len(settings)} runs or settings: 2 to {MAX_RUNS} can be compared")
    for setting in settings:
        check_setting(setting)
    settings = [by_seed(setting) for setting in settings]
    for name, times in Counter(run.name for setting in settings for run in setting.runs).items():
        if times > 1:
            raise ValueError(f"{name} is named twice: a run cannot be compared with itself; name another run")
    check_tasks(settings, options.only)
    common = common_parts(settings, list(options.only))
    runs = [setting.runs for setting in settings]
    found = [kind_of(task).parts(split, task, runs) for split, task in common.same]
    left_out = [*common.left_out, *(line for one in found for line in one.left_out)]
    parts = _in_order([part for one in found for part in one.parts if part.units.height])
    if not parts:
        why = "; ".join(left_out) or "none has a rank or a labelled prediction"
        raise ValueError(f"the runs have nothing to compare: {why}; compare runs of one catalogue, split, plan.folds")
    primary = find_primary(parts, options.primary, left_out)
    figure = primary or default_figure(parts)
    pairs = [paired_seeds(settings[0], setting) for setting in settings]
    how = Settings(primary, options.swaps)
    current_meter().announce(_work(settings, parts, options.swaps))
    decisions = decide(parts, pairs, how)
    (part,) = (part for part in parts if (part.split, part.task) == figure[:2] and figure[2] in _names(part))
    slices, slices_left_out = slice_rows(part, figure[2], settings[0].runs[0], pairs, how)
    counted = [counts(one, figure[2] if one is part else one.declared) for one in parts]
    changed = most_changed(part, settings, options.changed)
    return Comparison(
        settings,
        primary,
        figure,
        decisions,
        pl.concat([pl.DataFrame(schema=COUNTS_SCHEMA), *counted]),
        slices,
        slices_left_out,
        changed,
        left_out,
    )


def check_tasks(settings: Sequence[Setting], only: Sequence[str]) -> None:
    """Raise ValueError for a task in `only` that no run has."""
    known = dict.fromkeys(task for setting in settings for run in setting.runs for task in tasks_of(run))
    for task in only:
        if task not in known:
            raise ValueError(f"--only {task}: no such task in these runs; they have {', '.join(known) or 'none'}")


def common_parts(settings: Sequence[Setting], only: list[str]) -> Overlap:
    """Return the parts that all runs were measured on alike; ValueError if the test sets of two runs differ."""
    first = settings[0].runs[0]
    total: Overlap | None = None
    for setting in settings:
        for run in setting.runs:
            if run is first:
                continue
            found = overlap(first, run, (first.name, run.name), only)
            if found.refused:
                equal = list(dict.fromkeys(task for _, task in found.same))
                way_out = f", or only what is equal: {' '.join(f'--only {task}' for task in equal)}" if equal else ""
                raise ValueError(
                    f"{first.name} and {run.name} were measured on different test sets: {'; '.join(found.refused)}. "
                    f"Compare runs of one catalogue and split{way_out}"
                )
            total = found if total is None else _both(total, found)
    assert total is not None, "two runs or more are compared"
    return total


def find_primary(parts: Sequence[Part], asked: str, left_out: Sequence[str] = ()) -> Key | None:
    """Return the declared figure (split, task, metric): METRIC, TASK.METRIC or SPLIT.TASK.METRIC, or None for `none`.

    Without a split it is that of test, if there is one; without a task the first that has the metric. ValueError for
    one that no part has, with the lines of what is `left_out`.
    """
    if asked == NO_PRIMARY:
        return None
    if not asked:
        return default_figure(parts)
    *place, metric = asked.split(".")
    for part in parts:
        if metric in _names(part) and set(place) <= {part.split, part.task}:
            return part.split, part.task, metric
    listed = dict.fromkeys(f"{part.split}.{part.task}" for part in parts)
    metrics = dict.fromkeys(name for part in parts for name in _names(part))
    raise ValueError(
        f"--primary {asked}: no such figure; write METRIC, TASK.METRIC, SPLIT.TASK.METRIC or {NO_PRIMARY}, with "
        f"{', '.join(listed)} and {', '.join(metrics)}{''.join(f'; {line}' for line in left_out)}"
    )


def default_figure(parts: Sequence[Part]) -> Key:
    """Return the figure that is declared by default: MeanRecall of text to image on test, or that of the first part."""
    part = parts[0]
    return part.split, part.task, part.declared


def _names(part: Part) -> tuple[str, ...]:
    return part.systems[0][0].names


def _work(settings: Sequence[Setting], parts: Sequence[Part], swaps: int) -> str:
    """Return what a comparison will do, in one line."""
    runs = sum(len(setting.runs) for setting in settings)
    several = f" of {len(settings)} settings" if runs > len(settings) else ""
    rows = {name: sum(one.units.height for one in parts if (one.table == PRODUCTS) == products)
            for name, products in (("queries", False), ("products", True))}  # fmt: skip
    sizes = [f"{number:,} {name}" for name, number in rows.items() if number]
    listed = ", ".join(f"{one.split}.{one.task}" for one in parts)
    test = "Student's t over queries and seeds" if several else f"up to {swaps:,} swaps of groups"
    return f"{runs} runs{several}, {len(parts)} parts ({listed}) with {' and '.join(sizes)}, {test}"


def _in_order(parts: Sequence[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: SPLITS.index(part.split))


def _both(a: Overlap, b: Overlap) -> Overlap:
    lines = list(dict.fromkeys([*a.left_out, *b.left_out]))
    return Overlap([part for part in a.same if part in b.same], lines)


def record(comparison: Comparison) -> Mapping[str, Any]:
    """Return the comparison as JSON-like values."""
    return {
        "a": comparison.settings[0].name,
        "b": comparison.settings[1].name,
        "runs": {
            name: {
                "name": setting.name,
                "runs": [run.name for run in setting.runs],
                "seeds": setting.seeds,
            }
            for name, setting in comparison.letters.items()
        },
        "about": about(comparison),
        "primary": ".".join(comparison.primary) if comparison.primary else None,
        "test": comparison.decisions.test,
        "comparisons": comparison.rows.to_dicts(),
        "counts": comparison.counts.to_dicts(),
        "slices": comparison.slices.to_dicts(),
        "changed": [_changed_record(one) for one in comparison.changed],
        "left_out": comparison.left_out,
    }


def about(comparison: Comparison) -> str:
    """Return what the verdicts are about: settings, checkpoints, or both."""
    several = [len(setting.runs) > 1 for setting in comparison.settings]
    return "settings" if all(several) else "checkpoints" if not any(several) else "settings and checkpoints"


def _changed_record(one: Changed) -> dict[str, Any]:
    return {
        "run": one.run,
        "query": one.unit_id,
        "text": one.text,
        "better": one.better,
        "a_rank": one.before.rank,
        "rank": one.after.rank,
        "a_value": one.before.value,
        "value": one.after.value,
        "right": one.right,
        "a_products": one.before.products,
        "products": one.after.products,
        "a_predicted": one.before.predicted,
        "predicted": one.after.predicted,
    }

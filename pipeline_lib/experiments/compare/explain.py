"""Says in words what a comparison shows: what decides, what a verdict is about, what the test set could have shown."""

from collections.abc import Iterator

import polars as pl

from pipeline_lib.experiments.compare.comparison import Comparison, about
from pipeline_lib.experiments.compare.kinds import kind_of
from pipeline_lib.experiments.compare.settings import paired_seeds

FEW_GROUPS = "too few groups of queries differ to show anything"


def part_title(split: str, task: str) -> str:
    """Return the heading of a part.

    >>> part_title("test", "text_to_image"), part_title("all", "judged_0")
    ('test text > image', 'judged queries, fold 0')
    """
    return kind_of(task).title(split, task)


def digits(metric: str) -> int:
    """Return the decimals of a metric: ranks need one, shares need four."""
    return 1 if metric.endswith("_rank") else 4


def p_text(value: float) -> str:
    """Return a p value with three or four digits.

    >>> p_text(0.0421), p_text(0.00009999), p_text(0.5), p_text(1e-9)
    ('0.042', '0.0001', '0.500', '< 0.0001')
    """
    if value < 0.00005:
        return "< 0.0001"
    return f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"


def sentences(comparison: Comparison) -> list[str]:
    """Return what a reader must know beside the table: what is compared, what decides, and what could be found."""
    return [_subject(comparison), _decision(comparison), *_cut(comparison), *_power(comparison), *comparison.left_out]


def names_line(comparison: Comparison) -> str:
    """Return the letters with their names and seeds, in one line."""
    parts = []
    for name, setting in comparison.letters.items():
        seeds = f" (seeds {', '.join(map(str, setting.seeds))})" if len(setting.runs) > 1 else ""
        parts.append(f"{name} = {setting.name}{seeds}")
    return ", ".join(parts)


def _subject(comparison: Comparison) -> str:
    kind = about(comparison)
    if kind == "checkpoints":
        return (
            "The verdicts are about these checkpoints, which needs no seeds. They are not about settings: each has one "
            "run, and another training seed may turn a verdict round. `vitrine seeds` trains several."
        )
    first = comparison.settings[0]
    paired = [name for name, one in comparison.letters.items() if one is not first and paired_seeds(first, one)]
    joined = f" Seeds of a and {' and '.join(paired)} are the same numbers and paired." if paired else ""
    if kind == "settings":
        return f"The verdicts are about the settings: the intervals carry queries and seeds.{joined}"
    single = [name for name, one in comparison.letters.items() if len(one.runs) == 1]
    return (
        f"The verdicts are about the settings with several seeds, and about the checkpoint {' and '.join(single)}: one "
        f"run shows nothing about its setting.{joined}"
    )


def _decision(comparison: Comparison) -> str:
    primary = comparison.rows.filter("primary").height
    others = comparison.rows.height - primary
    text = f"p decides ({comparison.decisions.test}); the 95 % interval shows the size and is adjusted for nothing."
    if comparison.primary is None:
        return f"{text} No figure was declared: all {others} p values are adjusted for one another."
    split, task, metric = comparison.primary
    alone = "is tested alone" if primary == 1 else f"is adjusted for its {primary} comparisons alone"
    declared = f"The declared figure (*), {metric} of {part_title(split, task)}, {alone}"
    if others < 2:
        return f"{text} {declared}{'; the other p value is not adjusted' if others else ''}."
    return f"{text} {declared}; the other {others} p values are adjusted for one another."


def _cut(comparison: Comparison) -> Iterator[str]:
    """Yield a line if intervals end at the largest difference that their figure can have."""
    if number := comparison.decisions.num_cut:
        few = "queries" if about(comparison) == "checkpoints" else "seeds"
        yield (
            f"{number} of {comparison.rows.height} intervals {'is' if number == 1 else 'are'} cut at the largest "
            f"difference that the figure can have: so few {few} say next to nothing about it."
        )


def _power(comparison: Comparison) -> Iterator[str]:
    """Yield for each run the smallest difference of the declared figure, or of the first one, that could be shown."""
    split, task, metric = comparison.figure
    chosen = (pl.col("split") == split) & (pl.col("task") == task) & (pl.col("metric") == metric)
    for row in comparison.rows.filter(chosen).iter_rows(named=True):
        what = f"{row['run']} - a, {metric} of {part_title(split, task)}"
        if row["smallest"] is None:
            alike, of_seeds = row["low"] == row["high"] == 0, about(comparison) != "checkpoints"
            few = "with so few seeds no difference is found in 80 % of cases" if of_seeds else FEW_GROUPS
            yield f"{what}: {'the runs are alike' if alike else few}."
        else:
            size = f"{row['smallest']:.{digits(metric)}f}"
            yield f"{what}: this test set finds a difference of {size} in 80 % of cases, a smaller one less often."

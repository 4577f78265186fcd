"""Where a difference lies: the declared figure by category, length, script, right answers, kind and named slices.

Slices are looked at after the fact, so the p values of all of them, over all runs, are adjusted for one another.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from pipeline_lib.evaluation.composed_protocols import MIN_SLICE
from pipeline_lib.evaluation.slice_differences import checkpoint_slices, setting_slices
from pipeline_lib.experiments.compare.decisions import Row, Settings, letter, verdict
from pipeline_lib.experiments.compare.parts import BY_UNIT, PRODUCTS, QUERIES, Part
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.metrics.ranges import cut_difference

SLICE_SCHEMA: dict[str, "pl.DataType | type[pl.DataType]"] = {
    "dimension": pl.String,
    "slice": pl.String,
    "units": pl.Int64,
    "run": pl.String,
    "metric": pl.String,
    "a": pl.Float64,
    "b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p_adjusted": pl.Float64,
    "verdict": pl.String,
}
# Beginnings of the Unicode names of letters -> script.
SCRIPTS = {
    "LATIN": "Latin", "CJK": "Han", "HIRAGANA": "Japanese kana", "KATAKANA": "Japanese kana", "HANGUL": "Hangul",
    "CYRILLIC": "Cyrillic", "ARABIC": "Arabic", "DEVANAGARI": "Devanagari", "GREEK": "Greek", "HEBREW": "Hebrew",
    "THAI": "Thai",
}  # fmt: skip
MIXED_BELOW = 0.8  # a text with a smaller share of letters of one script is of several scripts
LENGTHS = ((3, "1 to 3"), (6, "4 to 6"), (10, "7 to 10"))
RIGHT_ANSWERS = ((1, "1"), (5, "2 to 5"))


def slice_rows(part: Part, figure: str, run: Run, paired: Sequence[bool], how: Settings) -> tuple[pl.DataFrame, int]:
    """Return SLICE_SCHEMA rows of a part's `figure`, and how many slices have too few units for one.

    `run` has the catalogue that all runs were measured on, `paired` says of each setting whether its seeds are those of
    the first. Tests and intervals are those of the whole part.
    """
    found = dimensions(part, run)
    members = {place: np.array(units) for place, units in found.items() if len(units) >= MIN_SLICE}
    left_out = len(found) - len(members)
    if not members:
        return pl.DataFrame(schema=SLICE_SCHEMA), left_out
    metric = BY_UNIT.get(figure, figure)
    slices = list(members.values())
    values = [[one.by_unit[metric] for one in systems] for systems in part.systems]
    if any(len(runs) > 1 for runs in values):
        limits, p_values = setting_slices(values, part.groups, slices, paired)
    else:
        limits, p_values = checkpoint_slices([one for (one,) in values], part.groups, slices, how.swaps, how.seed)
    rows: list[Row] = []
    means = [[float(part.values(number, figure)[units].mean()) for units in slices] for number in range(len(values))]
    for number in range(1, len(values)):
        for slot, ((dimension, name), units) in enumerate(members.items()):
            a, b, p_value = means[0][slot], means[number][slot], float(p_values[number - 1, slot])
            low, high = cut_difference(limits[number - 1, slot].tolist(), part.width(metric))
            row = {"dimension": dimension, "slice": name, "units": len(units), "run": letter(number), "metric": metric}
            row |= {"a": a, "b": b, "difference": b - a, "low": low, "high": high, "p_adjusted": p_value}
            rows.append(row | {"verdict": verdict(b - a, p_value, metric, letter(number))})
    return pl.DataFrame(rows, schema=SLICE_SCHEMA, orient="row"), left_out


def dimensions(part: Part, run: Run) -> dict[tuple[str, str], list[int]]:
    """Return the units (their row numbers) of each slice, by dimension and name, of those that divide the units."""
    described = describe(part, run)
    found: dict[tuple[str, str], list[int]] = {}
    for dimension in described.columns:
        column = described[dimension]
        parts = pl.DataFrame({"slice": column, "row": range(len(column))}).drop_nulls().group_by("slice").all()
        if parts.height > 1:
            found |= {(dimension, name): rows for name, rows in sorted(parts.rows())}
    if part.table != QUERIES:
        return found
    units = part.units.select(pl.col("unit_id").alias("query_id")).with_row_index("row")
    named = run.tables["query_slices"].join(units, on="query_id").sort("slice", "row").group_by("slice")
    return found | {("named slice", name): rows for name, rows in sorted(named.agg("row").rows())}


def describe(part: Part, run: Run) -> pl.DataFrame:
    """Return a column for each dimension, with the name of each unit's slice or null, in the order of the units."""
    units = part.units.select(pl.col("unit_id").alias("id"), *(set(part.units.columns) & {"num_right"}))
    if part.table is None:
        known = units.with_columns(text="id", label=pl.lit(None, pl.String), kind=pl.lit(None, pl.String))
    else:
        known = _joined(units, part.table, run)
    texts = [text or "" for text in known["text"].to_list()]
    columns: dict[str, Sequence[str | None]] = {
        "category": known["label"].to_list(),
        "words": [_bin(num_words(text), LENGTHS, "more than 10") if text else None for text in texts],
        "script": [script(text) if text else None for text in texts],
        "kind": known["kind"].to_list(),
    }
    if "num_right" in known.columns:
        columns["right answers"] = [_bin(number, RIGHT_ANSWERS, "more than 5") for number in known["num_right"]]
    return pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name, values in columns.items()})


def _joined(units: pl.DataFrame, table: str, run: Run) -> pl.DataFrame:
    """Return units (id) with their text, label and kind: of queries, the label is that of the first right answer."""
    products = run.tables["products"].select(pl.col("product_id").alias("id"), "label", "text")
    if table == PRODUCTS:
        known = units.join(products, on="id", how="left", maintain_order="left")
        return known.with_columns(kind=pl.lit(None, pl.String))
    queries = run.tables["queries"].select(pl.col("query_id").alias("id"), "kind", "text")
    answers = run.tables["relevance"].filter(pl.col("grade") > 0).unique("query_id", keep="first", maintain_order=True)
    labels = answers.join(products, left_on="product_id", right_on="id", how="left")
    categories = labels.select(pl.col("query_id").alias("id"), pl.col("label"))
    known = units.join(queries, on="id", how="left", maintain_order="left")
    return known.join(categories, on="id", how="left", maintain_order="left")


def num_words(text: str) -> int:
    """Return the number of words of a text; where a script has no spaces, two letters count as a word.

    >>> num_words("red striped mug"), num_words("红色条纹马克杯")
    (3, 4)
    """
    unspaced = sum(_script_of(letter) in ("Han", "Japanese kana", "Thai") for letter in text)
    spaced = "".join(" " if _script_of(letter) in ("Han", "Japanese kana", "Thai") else letter for letter in text)
    return len(spaced.split()) + -(-unspaced // 2)


def script(text: str) -> str:
    """Return the script of a text: that of at least 80 % of its letters, or several.

    >>> script("red mug"), script("红色马克杯"), script("红色 mug"), script("لامپ"), script("123")
    ('Latin', 'Han', 'Han and Latin', 'Arabic', 'no letters')
    """
    counts = Counter(name for letter in text if (name := _script_of(letter)))
    if not counts:
        return "no letters"
    ordered = [name for name, _ in counts.most_common()]
    if counts[ordered[0]] >= MIXED_BELOW * counts.total():
        return ordered[0]
    return " and ".join(sorted(ordered[:2]))


@lru_cache(maxsize=1 << 16)
def _script_of(letter: str) -> str:
    """Return the script of a letter, an empty text for what is none."""
    if not letter.isalpha():
        return ""
    return SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0].split("-")[0], "another script")


def _bin(value: int, limits: Sequence[tuple[int, str]], above: str) -> str:
    return next((name for limit, name in limits if value <= limit), above)

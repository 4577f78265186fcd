"""Writes fused rankings in a benchmark's own format: for MUGE one JSON object per query, with its top ten images.

The reader names products and queries `<split>-<number>`, because numbers repeat between splits. The prediction files
contain the numbers.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.schemas import PREDICTION_DEPTH, PREDICTION_KEYS

# Split of a gallery -> the benchmark's name for it.
SPLITS = {"oof": "valid", "test": "test"}
NUMBERED = re.compile(r"(?:train|valid|test)-(\d+)")


def write_muge(form: str, rankings: pl.DataFrame, out: Path) -> list[Path]:
    """Write `valid_predictions.jsonl` and `test_predictions.jsonl` for the splits of the RANKINGS_SCHEMA rows.

    Raises ValueError if several folds rank the queries, if a query has too few ranks, or if an id has no number.
    """
    files = []
    for (split,), part in rankings.group_by("split", maintain_order=True):
        if part["fold"].n_unique() > 1:
            raise ValueError(
                f"ensemble.predictions = {form!r}: several folds rank its queries, but the format needs one list per "
                "query; use data with a given split (its valid split is fold 0), or set ensemble.predictions to none"
            )
        best = part.filter(pl.col("rank") <= PREDICTION_DEPTH).sort("rank")
        lists = best.group_by("query_id", maintain_order=True).agg("product_id")
        lists = part.select("query_id").unique(maintain_order=True).join(lists, on="query_id", maintain_order="left")
        path = out / f"{SPLITS[str(split)]}_predictions.jsonl"
        path.write_text("".join(_line(form, *row) for row in lists.iter_rows()), encoding="utf-8")
        files.append(path)
    return files


def _line(form: str, query_id: str, product_ids: list[str]) -> str:
    if len(product_ids) < PREDICTION_DEPTH:
        raise ValueError(
            f"ensemble.predictions = {form!r}: query {query_id!r} has {len(product_ids)} ranked images, not "
            f"{PREDICTION_DEPTH}; raise ensemble.depth, or set ensemble.predictions to none if the gallery is smaller"
        )
    query, items = PREDICTION_KEYS[form]
    record = {query: _number(form, query_id), items: [_number(form, product_id) for product_id in product_ids]}
    return json.dumps(record) + "\n"


def _number(form: str, name: str) -> int:
    match = NUMBERED.fullmatch(name)
    if match is None:
        raise ValueError(
            f"ensemble.predictions = {form!r}: the id {name!r} is not <split>-<number>; this format is for data read "
            "with data.reader = muge; set ensemble.predictions to none for other data"
        )
    return int(match[1])


# Contract: RANKINGS_SCHEMA rows and the output folder -> the files written.
PREDICTION_FORMATS: dict[str, Callable[[pl.DataFrame, Path], list[Path]]] = {
    "none": lambda rankings, out: [],
    **{form: partial(write_muge, form) for form in PREDICTION_KEYS},
}

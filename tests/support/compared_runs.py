"""Runs to compare: eight products and their texts of one small catalogue, in memory and as files of a project."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from ruamel.yaml import YAML
from scored_rows import scored

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA, RANKINGS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.evaluation.judged import JudgedQuery, judged_table
from pipeline_lib.experiments.compare.runs import CLASSES, PARAMS, RANKINGS, RANKS, SCORES, TABLES, Run

LABELS = ["cup", "hat"]
TEXTS = [
    "red mug", "红色马克杯", "blue hat with a wide brim", "لامپ قرمز", "mug", "hat", "lamp <b>",
    "a hat that has a long text",
]  # fmt: skip


def catalogue(count=8):
    """Return the tables of `count` products; the first half are training products of folds 0 and 1."""
    ids, half = [f"p{number}" for number in range(count)], count // 2
    texts = [TEXTS[number % 8] for number in range(count)]
    rows = {
        "products": {
            "product_id": ids,
            "media": [[f"{key}.jpg"] for key in ids],
            "text": texts,
            "label": [LABELS[number % 2] for number in range(count)],
        },
        "media": {"product_id": ids, "content": [[f"hash-{key}"] for key in ids]},
        "queries": {
            "query_id": [f"q{number}" for number in range(count)],
            "kind": ["text"] * count,
            "text": texts,
            "reference_product_id": [None] * count,
            "subset": [[] for _ in ids],
        },
        "relevance": {"query_id": [f"q{number}" for number in range(count)], "product_id": ids, "grade": [1] * count},
        "query_slices": {"query_id": [], "slice": []},
        "folds": {
            "product_id": ids,
            "split": ["train"] * half + ["test"] * half,
            "fold": [number % 2 if number < half else None for number in range(count)],
        },
    }
    return {file.stem: pl.DataFrame(rows[file.stem], schema=columns) for file, columns in TABLES.items()}


def make_run(ranks, right=None, name="run", seed=7, direction="text_to_image", **tables):
    """Return a run whose text queries have `ranks`, and whose products are classified `right` (0 or 1 each)."""
    count = len(ranks)
    stored = catalogue(count) | tables
    half = count // 2
    places = [("oof", number % 2) if number < half else ("test", None) for number in range(count)]
    rows = [
        (split, direction, f"q{number}", fold, float(rank), 100, f"g{number}", 1, 1, 0)
        for number, ((split, fold), rank) in enumerate(zip(places, ranks, strict=True))
    ]
    predictions = [
        (f"p{number}", *places[number], label, label if good else LABELS[label == "cup"], [0.8, 0.2], f"g{number}")
        for number, (label, good) in enumerate(zip(stored["products"]["label"], right or [], strict=False))
    ]
    predictions = [(*row[:5], [0.8, 0.2] if row[4] == "cup" else [0.2, 0.8], row[6]) for row in predictions]
    rankings = [
        (f"q{number}", *places[number], place, f"p{(number + place - int(rank)) % count}", 1 / place)
        for number, rank in enumerate(ranks)
        for place in range(1, 4)
    ]
    ranked = pl.DataFrame(rankings, schema=RANKINGS_SCHEMA, orient="row")
    return Run(
        name,
        pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row"),
        scored(pl.DataFrame(predictions, schema=PREDICTIONS_SCHEMA, orient="row"), LABELS),
        LABELS if right else [],
        {"train": {"seed": seed}, "plan": {"folds": [0, 1], "composed": []}, "evaluate": {"protocol": "catalogue"}},
        stored,
        reader({RANKINGS: table_bytes(ranked)}),
    )


def reader(files):
    """Return the function that reads these files, and no others."""

    def read(file):
        if file not in files:
            raise FileNotFoundError(file)
        return files[file]

    return read


def judged_file(fold):
    """Return the path of a fold's table of judged queries."""
    return paths.judged_of(fold) / paths.JUDGED_QUERIES


def judged_rows(queries):
    """Return the table of judged queries: text -> product -> (score, grade)."""
    return judged_table(
        JudgedQuery(text, list(products), *(np.array(column, float) for column in zip(*products.values(), strict=True)))
        for text, products in queries.items()
    )


def with_judged(run, queries, fold=0):
    """Return a run whose plan.judged is one fold, with these judged queries; None for a run without the table."""
    params = dict(run.params) | {"plan": dict(run.params["plan"]) | {"judged": [fold]}}
    files = {RANKINGS: run.read(RANKINGS)}
    if queries is not None:
        files[judged_file(fold)] = table_bytes(judged_rows(queries))
    return replace(run, params=params, read=reader(files))


def table_bytes(table):
    """Return a table in parquet's format."""
    from io import BytesIO

    table.write_parquet(stream := BytesIO())
    return stream.getvalue()


def changed(run, table, **columns):
    """Return a run with other columns of one table of its catalogue."""
    return replace(run, tables=dict(run.tables) | {table: run.tables[table].with_columns(**columns)})


def write_run(root: Path, run: Run) -> None:
    """Write the files of a run into a project."""
    for file in (RANKS, SCORES, RANKINGS, *TABLES):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    run.ranks.write_parquet(root / RANKS)
    run.scores.write_parquet(root / SCORES)
    (root / RANKINGS).write_bytes(run.read(RANKINGS))
    for fold in run.params["plan"].get("judged", []):
        (root / judged_file(fold)).parent.mkdir(parents=True, exist_ok=True)
        (root / judged_file(fold)).write_bytes(run.read(judged_file(fold)))
    (root / CLASSES).write_text(json.dumps(run.classes), encoding="utf-8")
    for file in TABLES:
        run.tables[file.stem].write_parquet(root / file)
    with (root / PARAMS).open("w", encoding="utf-8") as stream:
        YAML().dump(dict(run.params), stream)

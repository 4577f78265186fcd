"""The baselines' predictions on disk: they depend on data, split and trunk alone, so experiments share them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.messages import only_in
from pipeline_lib.artifacts.read import read_json, read_table, reading
from pipeline_lib.evaluation.baselines.run import Baselines, run_baselines
from pipeline_lib.metrics.classification import ClassScores, class_numbers

PREDICTIONS, CLASSES, SKIPPED = "predictions.parquet", "classes.json", "skipped.json"
SCHEMA = pl.Schema(
    {
        "baseline": pl.String(),
        "split": pl.String(),
        "product_id": pl.String(),
        "predicted": pl.Int64(),
        "confidence": pl.Float64(),
        "label_rank": pl.Int64(),
    }
)


def write_baselines(trunk: Path | None, products: pl.DataFrame, classes: Sequence[str], seed: int, out: Path) -> None:
    """Write the predictions of every product of a fold or of test whose label is in `classes`; none for one class.

    The arguments are those of `run_baselines`.
    """
    asked = _predicted(products, classes) if len(classes) > 1 else products.clear()
    baselines = run_baselines(trunk, products, asked, classes, seed) if len(asked) else Baselines()
    frames = [pl.DataFrame(schema=SCHEMA)]
    for name, by_split in baselines.scores.items():
        for split, scores in by_split.items():
            ids = asked.filter(pl.col("split") == split)["product_id"]
            columns = {"predicted": scores.predicted, "confidence": scores.confidence, "label_rank": scores.ranks}
            frame = pl.DataFrame({"product_id": ids, **columns})
            named = frame.with_columns(pl.lit(name).alias("baseline"), pl.lit(split).alias("split"))
            frames.append(named.select(pl.col(column).cast(kind) for column, kind in SCHEMA.items()))
    write_table(pl.concat(frames), out / PREDICTIONS)
    write_json(out / CLASSES, list(classes))
    write_json(out / SKIPPED, baselines.skipped)


def _predicted(products: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return product_id, split (oof, test), fold and label of the products that a classifier can be measured on."""
    known = products.filter(pl.col("label").is_in(list(classes)))
    known = known.filter((pl.col("split") == "test") | pl.col("fold").is_not_null())
    split = pl.when(pl.col("split") == "test").then(pl.lit("test")).otherwise(pl.lit("oof"))
    fold = pl.when(pl.col("split") == "test").then(None).otherwise(pl.col("fold"))
    return known.select("product_id", split.alias("split"), fold.alias("fold"), "label")


def read_baselines(folder: Path, scored: pl.DataFrame, classes: Sequence[str]) -> Baselines:
    """Return the baselines' scores of the products `scored` (product_id, split, label), in their order.

    No baseline if nothing is scored. Raises ValueError if the models know other classes than the baselines, or if a
    product has no prediction.
    """
    if scored.is_empty():
        return Baselines()
    if (known := read_json(folder / CLASSES, list[str])) != list(classes):
        different = only_in(known, classes, ("there", "in the models")) or "their order differs"
        raise ValueError(
            f"{folder}: its {len(known)} classes are not the {len(classes)} of the models: {different}; run `dvc repro`"
        )
    predictions = read_table(folder / PREDICTIONS, list(SCHEMA))
    with reading(folder / PREDICTIONS):
        predictions = predictions.cast(SCHEMA)
    scores: dict[str, dict[str, ClassScores]] = {}
    for (name,), part in predictions.group_by("baseline", maintain_order=True):
        scores[str(name)] = {}
        for (split,), asked in scored.group_by("split", maintain_order=True):
            columns = ["product_id", "predicted", "confidence", "label_rank"]
            own = part.filter(pl.col("split") == split).select(columns)
            found = asked.select("product_id", "label").join(own, on="product_id", how="left", maintain_order="left")
            if found["predicted"].has_nulls():
                missing = found.filter(pl.col("predicted").is_null())["product_id"][0]
                raise ValueError(f"{folder}: no prediction of product {missing!r} by {name}; run `dvc repro`")
            scores[str(name)][str(split)] = ClassScores(
                class_numbers(found["label"], classes),
                found["predicted"].to_numpy(),
                found["confidence"].to_numpy().astype(np.float64),
                found["label_rank"].to_numpy(),
                len(classes),
            )
    return Baselines(scores, read_json(folder / SKIPPED, dict[str, str]))

"""Reads the out-of-fold probabilities of a run: accuracy at each image size, and the most confident errors.

    python examples/read_out_of_fold.py [data/work/ensemble]

Each product was predicted by the model that did not train on it, so these rows are safe to choose weights, thresholds
or labels by. Without a folder a small table is made. Products whose class that model was not trained on are left out,
as in the figures, if class_scores.parquet lies beside oof.parquet.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.schemas import OOF_SCHEMA


def read(folder: Path) -> tuple[pl.DataFrame, list[str]]:
    """Return oof.parquet with the predicted class and its probability, and the names of the classes."""
    classes: list[str] = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    rows = pl.read_parquet(folder / "oof.parquet")
    if (folder / "class_scores.parquet").is_file():
        scores = pl.read_parquet(folder / "class_scores.parquet")
        unlearned = scores.filter(split="oof").filter(pl.col("label").is_not_null() & pl.col("label_rank").is_null())
        rows = rows.join(unlearned, left_on="id", right_on="product_id", how="anti", maintain_order="left")
    probabilities = rows["probabilities"].to_numpy()
    predicted = pl.Series("predicted", [classes[number] for number in probabilities.argmax(axis=1)], dtype=pl.String)
    return rows.with_columns(predicted, pl.Series("probability", probabilities.max(axis=1))), classes


def accuracy(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the share of correct labels at each image size; a null size is the fusion of all."""
    known = rows.filter(pl.col("truth").is_not_null())
    right = (pl.col("predicted") == pl.col("truth")).mean()
    return known.group_by("scale").agg(right.alias("top1"), pl.len().alias("products")).sort("scale", nulls_last=True)


def confident_errors(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return the errors of the fused predictions with the highest probability."""
    fused = rows.filter(pl.col("scale").is_null() & (pl.col("predicted") != pl.col("truth")))
    return (
        fused.sort("probability", "id", descending=[True, False])
        .head(count)
        .select("id", "truth", "predicted", "probability")
    )


def write_small(folder: Path) -> None:
    """Write a table of 40 products and 3 classes, whose truth is the most probable class nine times of ten."""
    random, classes = np.random.default_rng(5), ["lamp", "mug", "plate"]
    rows = []
    for number in range(40):
        mean = np.zeros(3)
        for scale in (64, 72, None):
            likely = random.dirichlet([8, 1, 1]) if scale else mean / mean.sum()
            mean = mean + likely
            truth = classes[0 if number % 10 else 1]
            rows.append((f"p{number:02d}", number % 2, truth, scale, likely.tolist()))
    schema = {**OOF_SCHEMA, "probabilities": pl.Array(pl.Float32, len(classes))}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "oof.parquet")
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args(arguments).folder
    if folder is None:
        folder = Path(tempfile.mkdtemp())
        write_small(folder)
    rows, classes = read(folder)
    print(f"{folder}: {rows['id'].n_unique()} products, {len(classes)} classes")
    print(accuracy(rows))
    print(confident_errors(rows, 5))


if __name__ == "__main__":
    main(sys.argv[1:])

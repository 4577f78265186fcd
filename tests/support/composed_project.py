"""A catalogue of composed queries with stored features that are made, not computed: a shape, a colour, and noise.

A query is "the reference in another colour". Image features hold shape and colour, text features the colour alone, so a
query needs both. Every product has a look-alike: the same thing in another listing.
"""

import itertools
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.features.tower_stores import origin_of
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.section import load_params
from pipeline_lib.stores.activations import ActivationWriter
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.store import write_store
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.training.composed.fold import ComposedConfig, ComposedFolders

ROOT = Path(__file__).parents[2]
COLOURS = ("red", "blue", "green", "black")
PHRASES = ("the same in {}", "换成 {}")
WIDTH, TOKENS = 24, 5
TOKENIZER = (ROOT / "recipes/tiny/tokenizer").as_posix()
SOURCES = {
    "image": TowerSource({"kind": "timm", "size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}, None, None),
    "text": TowerSource({"kind": "hf", "tokenizer": TOKENIZER, "max_tokens": 16}, None, None),
}


def make_tables(num_shapes: int = 18) -> dict[str, pl.DataFrame]:
    """Return products, queries, relevance and folds: a shape is in one fold, every sixth in test."""
    products, queries, relevance = [], [], []
    for shape, colour in itertools.product(range(num_shapes), COLOURS):
        place = ("test", None) if shape % 6 == 5 else ("train", shape % 3)
        for listing in range(2 if colour == "red" else 1):
            products.append((f"p{shape}-{colour}-{listing}", f"shape{shape % 2}", f"g{shape}-{colour}", *place))
    for shape, (old, new) in itertools.product(range(num_shapes), itertools.permutations(COLOURS, 2)):
        for number, phrase in enumerate(PHRASES):
            query_id = f"q{shape}-{old}-{new}-{number}"
            subset = [f"p{shape}-{colour}-0" for colour in COLOURS]
            queries.append((query_id, "composed", phrase.format(new), f"p{shape}-{old}-0", subset, None))
            relevance.append((query_id, f"p{shape}-{new}-0", 2))
            if new == "red":  # the other listing is a softer answer
                relevance.append((query_id, f"p{shape}-{new}-1", 1))
    columns = ["product_id", "label", "group_id", "split", "fold"]
    frame = pl.DataFrame(products, schema=columns, orient="row", schema_overrides={"fold": pl.Int64})
    schema = {"query_id": pl.String, "kind": pl.String, "text": pl.String, "reference_product_id": pl.String}
    schema |= {"subset": pl.List(pl.String), "split": pl.String}
    return {
        "products": frame.drop("split", "fold").with_columns(
            media=pl.concat_list(pl.col("product_id") + ".jpg"), text=pl.lit("")
        ),
        "folds": frame.select("product_id", "split", "fold"),
        "queries": pl.DataFrame(queries, schema=schema, orient="row"),
        "relevance": pl.DataFrame(
            relevance, schema={"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64}, orient="row"
        ),
    }


def write_trunk(folder: Path, tables: dict[str, pl.DataFrame], tokens: bool = True, sources=SOURCES) -> None:
    """Write the stores of the towers: a part of the width for the shape, one for the colour."""
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(100, WIDTH))
    colours = dict(zip(COLOURS, rng.normal(size=(len(COLOURS), WIDTH)), strict=True))
    words = dict(zip(COLOURS, rng.normal(size=(len(COLOURS), 16)), strict=True))
    ids, pooled, cells = [], [], []
    for product_id in tables["products"]["product_id"]:
        shape, colour, _ = product_id[1:].split("-")
        parts = [shapes[int(shape)], colours[colour], *rng.normal(size=(TOKENS - 2, WIDTH)) / 4]
        ids.append(photo_key(product_id, 0))
        cells.append(np.stack(parts))
        pooled.append(parts[0] + parts[1] + rng.normal(size=WIDTH) / 10)
    write_store(folder / "image", ids, np.stack(pooled), origin_of("image", sources["image"]), "float32")
    if tokens:
        writer = ActivationWriter(folder / "image-tokens", len(ids) * TOKENS, WIDTH, "float16")
        writer.write(ids, np.stack(cells))
        writer.close(
            *origin_of("image", sources["image"]), TowerBoundary(True, WIDTH, shape=(TOKENS, WIDTH), tokens=True)
        )
    texts = tables["queries"]["text"].unique().sort().to_list()
    vectors = [words[text.split()[-1]] + rng.normal(size=16) / 10 for text in texts]
    keys = [text_key(text) for text in texts]
    write_store(folder / "text", keys, np.stack(vectors), origin_of("text", sources["text"]), "float32")
    write_json(folder / "joint.json", {"why_apart": "made features"})


def write_composed_project(root: Path, num_shapes: int = 18, tokens: bool = True, sources=SOURCES) -> ComposedFolders:
    """Write the tables and the stores of a project."""
    tables = make_tables(num_shapes)
    folders = ComposedFolders(root / "catalogue", root / "folds", root / "features/trunk")
    for folder in (folders.catalogue, folders.folds):
        folder.mkdir(parents=True)
    for name in ("products", "queries", "relevance"):
        tables[name].write_parquet(folders.catalogue / f"{name}.parquet")
    hashes = pl.concat_list(pl.col("product_id"))
    tables["products"].select("product_id", "media", content=hashes).write_parquet(folders.catalogue / "media.parquet")
    tables["folds"].write_parquet(folders.folds / "folds.parquet")
    write_trunk(folders.trunk, tables, tokens, sources)
    return folders


def composed_params(**changes) -> ComposedParams:
    """Return the section `composed` for a model that trains in a second; changes are of any depth."""
    values = load_params(ROOT / "params.yaml")["composed"]
    small = {"embedding_dim": 16, "fusion_width": 16, "batch_size": 32, "epochs": 3, "lr": 0.01, "precision": "fp32"}
    former = {"queries": 4, "layers": 1, "width": 16, "heads": 2, "dropout": 0.1, "max_tokens": 12}
    small |= {"combiner": {"projection": 32, "hidden": 32, "dropout": 0.1}, "q_former": values["q_former"] | former}
    for key, value in changes.items():
        small[key] = values[key] | small.get(key, {}) | value if isinstance(value, dict) else value
    return ComposedParams.model_validate(values | small)


def composed_config(kind: str = "sum", **changes) -> ComposedConfig:
    """Return a run's settings on the CPU."""
    return ComposedConfig(kind, composed_params(**changes), SOURCES, "cpu")

"""Writes a trained model's product embeddings, query embeddings and class probabilities."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.paths import FRAME_WEIGHTS
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.inference.engine import Array
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.products import Products, photo_key, read_products
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.stores.store import MatrixWriter, write_store


def write_embeddings(
    predictor: Predictor, products: Products, queries: pl.DataFrame, out: Path, model: str, preprocessing: str
) -> None:
    """Write the stores products/, queries/ and probabilities/ (with classes.json), each if the model has its head.

    A model with frame attention also gets frame_weights/, a row for each photo, by `photo_key`.

    `queries` has the columns query_id and text. Embeddings of unit length are float16. Those for dot products, which
    may exceed its range, and probabilities are float32. In a process group all ranks compute, and rank 0 writes.
    Nothing is computed by a model without heads.
    """
    description = predictor.model.description
    if not description["retrieval"] and not description["classes"]:
        return
    if not predictor.engine.processes.is_first:
        deque(predictor.predict(products), maxlen=0)
        if description["retrieval"]:
            predictor.embed_texts(queries["text"].to_list())
        return
    similarity = description["similarity"]
    writers = _writers(predictor.model, products, out)
    for name, start, values in _blocks(predictor, products):
        writers[name].write(start, values)
    for name, writer in writers.items():
        writer.close(_photo_keys(products) if name == FRAME_WEIGHTS else products.ids, model, preprocessing, similarity)
    if description["retrieval"]:
        embedded = predictor.embed_texts(queries["text"].to_list())
        ids = queries["query_id"].to_list()
        write_store(out / "queries", ids, embedded, (model, preprocessing), embedding_dtype(similarity), similarity)


def embedding_dtype(similarity: str) -> str:
    """Return the number format of stored embeddings that are compared by `similarity`."""
    return "float16" if similarity == "cosine" else "float32"


def _writers(model: ImageTextModel, products: Products, out: Path) -> dict[str, MatrixWriter]:
    """Return the writer of each store, and write the names of the classes."""
    description, count = model.description, len(products)
    writers: dict[str, MatrixWriter] = {}
    if description["retrieval"]:
        dtype = embedding_dtype(description["similarity"])
        writers["products"] = MatrixWriter(out / "products", count, description["embedding_dim"], dtype)
    if description["classes"]:
        writers["probabilities"] = MatrixWriter(out / "probabilities", count, len(description["classes"]), "float32")
        write_json(out / "classes.json", description["classes"])
    if model.frames is not None and model.frames.attention is not None:
        writers[FRAME_WEIGHTS] = MatrixWriter(out / FRAME_WEIGHTS, int(products.num_photos.sum()), 1, "float32")
    return writers


def _blocks(predictor: Predictor, products: Products) -> Iterator[tuple[str, int, Array]]:
    """Yield (store, first row, rows) of the predictions for all products."""
    num_photos = 0
    for block in predictor.predict(products):
        if block.embeddings is not None:
            yield "products", block.start, block.embeddings
        if block.probabilities is not None:
            yield "probabilities", block.start, block.probabilities
        if block.frame_weights is not None:
            yield FRAME_WEIGHTS, num_photos, block.frame_weights
            num_photos += len(block.frame_weights)


def _photo_keys(products: Products) -> list[str]:
    return [
        photo_key(key, n) for key, count in zip(products.ids, products.num_photos, strict=True) for n in range(count)
    ]


def read_predicted(catalogue: Path, folds: Path, manifest: Path, fold: int) -> pl.DataFrame:
    """Return `read_products` of a held-out fold and of the test split."""
    return read_products(catalogue, folds, manifest).filter((pl.col("fold") == fold) | (pl.col("split") == "test"))


def read_queries(catalogue: Path, product_ids: list[str]) -> pl.DataFrame:
    """Return `queries_for` the products, from the tables of a catalogue."""
    tables = [read_table(catalogue / f"{name}.parquet") for name in ("queries", "relevance")]
    return queries_for(product_ids, *tables)


def queries_for(product_ids: list[str], queries: pl.DataFrame, relevance: pl.DataFrame) -> pl.DataFrame:
    """Return query_id and text of the text queries to embed, sorted by id.

    These are the queries with a relevant product among `product_ids`, and the queries of the val and test splits
    without any relevant product: those of a public test set, which are ranked for its prediction file.
    """
    right = relevance.filter(pl.col("grade") > 0)
    relevant = right.join(pl.DataFrame({"product_id": product_ids}), on="product_id", how="semi")
    texts = queries.filter(pl.col("kind") == "text")
    answered = texts.join(relevant, on="query_id", how="semi")
    held_out = texts.filter(pl.col("split").is_in(["val", "test"]))
    unanswered = held_out.join(relevance, on="query_id", how="anti")
    return pl.concat([answered, unanswered]).select("query_id", "text").sort("query_id")

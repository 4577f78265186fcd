"""The bank of training texts of evaluate.hubness: which they are, and their embeddings by a trained model.

The texts are those of every product outside test, so that one bank serves the galleries of all folds: the ensemble
leaves out those of a gallery's own products. They are embedded block by block, because they may be millions.
"""

import hashlib
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.paths import QUERY_BANK
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.stores.store import MatrixWriter

BLOCK = 16_384


def read_query_bank(catalogue: Path, folds: Path, limit: int) -> pl.DataFrame:
    """Return `bank_queries` of the tables of a catalogue and its folds; no row, and nothing is read, for a limit of 0.

    `limit` is the largest number of texts.
    """
    if limit == 0:
        return pl.DataFrame(schema={"query_id": pl.String, "text": pl.String})
    queries, relevance = (read_table(catalogue / f"{name}.parquet") for name in ("queries", "relevance"))
    return bank_queries(queries, relevance, read_table(folds / "folds.parquet"), limit)


def bank_queries(queries: pl.DataFrame, relevance: pl.DataFrame, folds: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Return query_id and text of the text queries that are answered by products outside test alone, sorted by id.

    Of more than `limit`, those with the lowest hashes of their ids are taken: the same in every fold, and a random
    sample of any catalogue.
    """
    answers = relevance.filter(pl.col("grade") > 0).join(folds, on="product_id")
    of_test = answers.filter(pl.col("split") == "test")
    texts = queries.filter((pl.col("kind") == "text") & pl.col("split").ne_missing("test"))
    own = texts.join(answers, on="query_id", how="semi").join(of_test, on="query_id", how="anti")
    own = own.select("query_id", "text").sort("query_id")
    if len(own) <= limit:
        return own
    hashes = [hashlib.sha256(query_id.encode()).digest() for query_id in own["query_id"]]
    chosen = pl.Series("hash", hashes, pl.Binary).arg_sort()[:limit].sort()
    return own[chosen]


def write_query_bank(predictor: Predictor, bank: pl.DataFrame, out: Path, model: str, preprocessing: str) -> None:
    """Write the store of the bank's embeddings in `out`, by query id; none for an empty bank or a model without texts.

    In a process group all ranks compute, and rank 0 writes.
    """
    description, is_first = predictor.model.description, predictor.engine.processes.is_first
    if bank.is_empty() or not description["retrieval"]:
        return
    dtype = "float16" if description["similarity"] == "cosine" else "float32"
    writer = MatrixWriter(out / QUERY_BANK, len(bank), description["embedding_dim"], dtype) if is_first else None
    for start in range(0, len(bank), BLOCK):
        embedded = predictor.embed_block(bank["text"][start : start + BLOCK].to_list())
        if writer is not None:
            writer.write(start, embedded)
    if writer is not None:
        writer.close(bank["query_id"].to_list(), model, preprocessing, description["similarity"])

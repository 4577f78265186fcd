"""Searches the index of all products with a text: a fold's model embeds it, and the index returns the nearest.

Of most models only the text tower is read. Libraries are imported where they are needed, because a search takes as long
as its imports.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pipeline_lib.execution.threads  # noqa: F401  the collector scans less while libraries are imported
from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json
from pipeline_lib.params.section import load_params, parse_value
from pipeline_lib.transforms.tokenize import TextTokenizer

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FoundProduct:
    """One product of a search, with its score and its text."""

    product_id: str
    score: float
    text: str


def search_fold(text: str, kind: str, fold: int, top: int) -> list[FoundProduct]:
    """Return the `top` products for a text, best first.

    Raises ValueError if the model or the index is missing, or if the index was built by another model.
    """
    from pipeline_lib.models.saved import read_card
    from pipeline_lib.retrieval.faiss_index import MANIFEST

    folder, index = paths.train_of(fold), paths.index_of(kind, fold)
    params = load_params()
    card = read_card(folder)
    if not card["description"]["retrieval"]:
        raise ValueError(
            f"{folder}: this model has no joint embedding; give losses.info_nce, or another loss that compares images "
            "and texts, a weight above 0"
        )
    if not (index / MANIFEST).is_file():
        raise ValueError(f"{index}: no such index; add {kind!r} to plan.index and {fold} to plan.search, `dvc repro`")
    query, fingerprint = embed_query(text, folder, card, params)

    import polars as pl

    from pipeline_lib.retrieval.search import search

    hits = search(index, query, top, fingerprint, read_json(index / MANIFEST)["preprocessing"])[0]
    products = pl.scan_parquet(paths.CATALOGUE / "products.parquet").select("product_id", "text")
    found = products.filter(pl.col("product_id").is_in([hit.product_id for hit in hits])).collect()
    texts = dict(found.iter_rows())
    return [FoundProduct(hit.product_id, float(hit.score), texts.get(hit.product_id, "")) for hit in hits]


def embed_query(
    text: str, folder: Path, card: dict[str, Any], params: dict[str, Any]
) -> tuple["NDArray[float32]", str]:
    """Return a text's embedding (1, embedding_dim) by the model in a folder, and the fingerprint of its weights."""
    import torch

    from pipeline_lib.retrieval.text_query import TextQuery, has_separate_text

    share, tokenizer = parse_value("embed.interpolation", float, params), TextTokenizer(folder / "tokenizer")
    max_tokens = int(card["description"]["text"]["max_tokens"])
    if share == 1.0 and has_separate_text(card["description"]):
        ids, _ = tokenizer.encode_batch([text], max_tokens)
        return TextQuery(folder, card["description"]).embed(torch.from_numpy(ids)).numpy(), card["fingerprint"]

    from pipeline_lib.inference.engine import InferenceEngine, encode_texts
    from pipeline_lib.inference.wise_ft import load_interpolated

    saved = load_interpolated(folder, share)

    def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return saved.model.embed_text(saved.model.encode_text(ids, mask))

    return encode_texts(encode, tokenizer, [text], max_tokens, InferenceEngine("cpu", 1, 0, "fp32")), saved.fingerprint

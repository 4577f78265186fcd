"""Searches one fold's index with a text: the fold's model embeds it, and the index returns the nearest products."""

from dataclasses import dataclass

import polars as pl
from torch import Tensor

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json
from pipeline_lib.inference.engine import InferenceEngine, encode_texts
from pipeline_lib.inference.wise_ft import load_interpolated
from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.retrieval.faiss_index import MANIFEST
from pipeline_lib.retrieval.search import search
from pipeline_lib.transforms.tokenize import TextTokenizer


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
    folder, index = paths.train_of(fold), paths.index_of(kind, fold)
    params = load_params()
    share = parse_section(EmbedParams, params).interpolation
    saved = load_interpolated(folder, share, parse_section(ModelParams, params))
    if not saved.card["description"]["retrieval"]:
        raise ValueError(
            f"{folder}: this model has no joint embedding; give losses.info_nce, or another loss that compares images "
            "and texts, a weight above 0"
        )
    if not (index / MANIFEST).is_file():
        raise ValueError(f"{index}: no such index; add {kind!r} to plan.index and {fold} to plan.folds")

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        return saved.model.embed_text(saved.model.encode_text(ids, mask))

    max_tokens = saved.card["description"]["text"]["max_tokens"]
    engine = InferenceEngine("cpu", 1, 0, "fp32")
    query = encode_texts(encode, TextTokenizer(folder / "tokenizer"), [text], max_tokens, engine)
    hits = search(index, query, top, saved.fingerprint, read_json(index / MANIFEST)["preprocessing"])[0]
    texts = dict(pl.read_parquet(paths.CATALOGUE / "products.parquet").select("product_id", "text").iter_rows())
    return [FoundProduct(hit.product_id, float(hit.score), texts.get(hit.product_id, "")) for hit in hits]

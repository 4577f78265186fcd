"""A search from the terminal: a text through one fold's model and index, the products found as a table."""

import polars as pl
from rich.table import Table
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


def search_table(text: str, kind: str, fold: int, top: int) -> Table:
    """Return the `top` products for a text; ValueError if model or index is missing, or one is not the other's."""
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
        raise ValueError(f"{index}: no index here; is {kind!r} in plan.index and {fold} in plan.folds?")

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        return saved.model.embed_text(saved.model.encode_text(ids, mask))

    max_tokens = saved.card["description"]["text"]["max_tokens"]
    engine = InferenceEngine("cpu", 1, 0, "fp32")
    query = encode_texts(encode, TextTokenizer(folder / "tokenizer"), [text], max_tokens, engine)
    hits = search(index, query, top, saved.fingerprint, read_json(index / MANIFEST)["preprocessing"])[0]
    texts = dict(pl.read_parquet(paths.CATALOGUE / "products.parquet").select("product_id", "text").iter_rows())
    table = Table(title=f"{text!r}: {kind} index of fold {fold}")
    for heading in ("score", "product", "text"):
        table.add_column(heading)
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.product_id, texts.get(hit.product_id, "")[:80])
    return table

"""Embeddings of the photos and of the texts of all products by one fold's model, for a search of the whole catalogue.

The photos of the held-out fold and of test are embedded already, for the metrics; only the others are encoded here. No
metric reads these embeddings, because the model was trained on most of these products.
"""

from collections import deque
from dataclasses import replace
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.paths import GALLERY_PHOTOS, GALLERY_TEXTS
from pipeline_lib.inference.embeddings import embedding_dtype
from pipeline_lib.inference.opening import OpenModel
from pipeline_lib.loading.products import as_arrays
from pipeline_lib.stores.store import HEADER, FeatureStore, MatrixWriter, open_store

# Products, or texts, that are copied or encoded at a time.
BLOCK = 16_384


def open_embedded(folder: Path, opened: OpenModel) -> FeatureStore | None:
    """Open the products that a folder of the stage embed has; None for a model without a joint embedding.

    Raises ValueError if another model, or another preprocessing, embedded them.
    """
    if not (folder / "products" / HEADER).is_file():
        return None
    return open_store(folder / "products", opened.fingerprint, opened.preprocessing)


def write_gallery(opened: OpenModel, products: pl.DataFrame, embedded: FeatureStore, out: Path) -> None:
    """Write the stores photos/ and texts/ of all `products` that have a photo, or a text; `embedded` are ready photos.

    The columns of `products` are those of `read_products`. Rows have unit length unless the model compares by dot
    product. In a process group all ranks compute, and rank 0 writes.
    """
    _write_photos(opened, products.filter("has_photo"), embedded, out / GALLERY_PHOTOS)
    _write_texts(opened, products.filter(pl.col("text").fill_null("") != ""), out / GALLERY_TEXTS)


def _write_photos(opened: OpenModel, products: pl.DataFrame, embedded: FeatureStore, out: Path) -> None:
    ready = products.filter(pl.col("product_id").is_in(embedded.ids))
    rest = as_arrays(products.filter(~pl.col("product_id").is_in(embedded.ids)), opened.classes)
    predicted = replace(opened.predictor, classify=False).predict(rest) if len(rest) else iter(())
    if not opened.predictor.engine.processes.is_first:
        deque(predicted, maxlen=0)
        return
    ids = ready["product_id"].to_list()
    writer = _writer(opened, out, len(products))
    for start in range(0, len(ids), BLOCK):
        writer.write(start, embedded.rows(ids[start : start + BLOCK]))
    for block in predicted:
        assert block.embeddings is not None
        writer.write(len(ids) + block.start, block.embeddings)
    _close(opened, writer, [*ids, *rest.ids])


def _write_texts(opened: OpenModel, products: pl.DataFrame, out: Path) -> None:
    predictor, ids = opened.predictor, products["product_id"].to_list()
    writer = _writer(opened, out, len(ids)) if predictor.engine.processes.is_first else None
    for start in range(0, len(ids), BLOCK):
        block = predictor.embed_block(products["text"][start : start + BLOCK].to_list())
        if writer is not None:
            writer.write(start, block)
    if writer is not None:
        _close(opened, writer, ids)


def _writer(opened: OpenModel, out: Path, count: int) -> MatrixWriter:
    description = opened.predictor.model.description
    return MatrixWriter(out, count, description["embedding_dim"], embedding_dtype(description["similarity"]))


def _close(opened: OpenModel, writer: MatrixWriter, ids: list[str]) -> None:
    similarity = opened.predictor.model.description["similarity"]
    writer.close(ids, opened.fingerprint, opened.preprocessing, similarity)

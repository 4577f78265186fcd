"""The frozen trunk's pooled features of every photo and every distinct text, kept in two stores.

Training reads them when the towers are frozen and the view is fixed, so that a sweep over heads, losses and learning
rates never runs the trunk again. The stores name the towers' weights and the image size, and refuse any other.
"""

from pathlib import Path

import numpy as np
import polars as pl
from torch import Tensor

from pipeline_lib.features.batches import PhotoViews, StoredFeatures
from pipeline_lib.features.encode import Engine, encode_photos, encode_texts
from pipeline_lib.features.products import photo_key, text_key
from pipeline_lib.features.store import MatrixWriter, open_store, write_store
from pipeline_lib.models.multimodal import IMAGE_TOWERS, TEXT_TOWERS
from pipeline_lib.models.towers import TowerSource, fingerprint, load_strictly
from pipeline_lib.provenance import digest_value
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.image import preprocessing_fingerprint
from pipeline_lib.transforms.tokenize import TextTokenizer


def extract_trunk(
    sources: dict[str, TowerSource],
    reader: ShardReader,
    photos: pl.DataFrame,
    texts: list[str],
    out: Path,
    engine: Engine,
    dtype: str,
) -> None:
    """Write `out`/image (a row a photo of the manifest) and `out`/text (a row a distinct text)."""
    image_source, text_source = sources["image"], sources["text"]
    image = IMAGE_TOWERS[image_source.description["kind"]][1](image_source.description)
    text = TEXT_TOWERS[text_source.description["kind"]][1](text_source.description)
    for tower, source in ((image, image_source), (text, text_source)):
        if source.state is not None:
            load_strictly(tower, source.state, str(source.weights))
        tower.eval().to(engine.device)

    def encode(pixels: Tensor, _positions: Tensor) -> Tensor:
        return image.encode(pixels)

    writer = MatrixWriter(out / "image", len(photos), image.dim, dtype)
    views = PhotoViews(reader, image_source.description["size"])
    for start, block in encode_photos(encode, views, np.arange(len(photos)), engine):
        writer.write(start, block.cpu().numpy())
    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    writer.close(keys, fingerprint(image_source), view_fingerprint(image_source))

    tokenizer = TextTokenizer(text_source.description["tokenizer"])
    distinct = sorted(set(texts))
    found = encode_texts(text.encode, tokenizer, distinct, text_source.description["max_tokens"], engine)
    write_store(
        out / "text",
        [text_key(value) for value in distinct],
        found,
        fingerprint(text_source),
        text_fingerprint(text_source),
        dtype,
    )


def view_fingerprint(source: TowerSource) -> str:
    """Return the identity of the fixed view that an image tower sees."""
    size, mean, std = (source.description[key] for key in ("size", "mean", "std"))
    return preprocessing_fingerprint(size, mean, std)


def text_fingerprint(source: TowerSource) -> str:
    """Return the identity of what a text tower is fed."""
    return digest_value([source.description[key] for key in ("tokenizer", "max_tokens")])


def open_trunk(folder: Path, sources: dict[str, TowerSource]) -> StoredFeatures:
    """Open both stores; ValueError if other towers, weights or image sizes made them."""
    return StoredFeatures(
        open_store(folder / "image", fingerprint(sources["image"]), view_fingerprint(sources["image"])),
        open_store(folder / "text", fingerprint(sources["text"]), text_fingerprint(sources["text"])),
    )

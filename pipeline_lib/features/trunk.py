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
from pipeline_lib.features.store import HEADER, IDS, MatrixWriter, open_store, write_store
from pipeline_lib.files import copy_of, inside
from pipeline_lib.models.tower_kinds import build_image_tower, build_text_tower
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
    """Write `out`/image (a row a photo of the manifest) and `out`/text (a row a distinct text), if storable."""
    if why_unstorable(sources):
        return
    image_source, text_source = sources["image"], sources["text"]
    image, text = build_image_tower(image_source.description), build_text_tower(text_source.description)
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


def why_unstorable(sources: dict[str, TowerSource]) -> str | None:
    """Return why pooled features of these towers cannot be kept for a training, or None if they can.

    Early fusion pools behind a layer that is trained, and a part without pretrained weights begins anew in each run.
    """
    for name, source in sources.items():
        if source.description.get("tokens"):
            return "model.fusion = early reads tokens, which are not stored"
        if source.new:
            return f"model.{name} has parts without pretrained weights ({', '.join(source.new)}), made anew by each run"
    return None


def view_fingerprint(source: TowerSource) -> str:
    """Return the identity of the fixed view that an image tower sees."""
    size, mean, std = (source.description[key] for key in ("size", "mean", "std"))
    return preprocessing_fingerprint(size, mean, std)


def text_fingerprint(source: TowerSource) -> str:
    """Return the identity of what a text tower is fed."""
    return digest_value([source.description[key] for key in ("tokenizer", "max_tokens")])


def open_trunk(folder: Path, sources: dict[str, TowerSource], url: str | None = None) -> StoredFeatures:
    """Open both stores, or their copies at a URL; ValueError if other towers, weights or image sizes made them."""
    place = copy_of(folder, url, [f"{part}/{name}" for part in ("image", "text") for name in (HEADER, IDS)])
    return StoredFeatures(
        open_store(inside(place, "image"), fingerprint(sources["image"]), view_fingerprint(sources["image"])),
        open_store(inside(place, "text"), fingerprint(sources["text"]), text_fingerprint(sources["text"])),
    )

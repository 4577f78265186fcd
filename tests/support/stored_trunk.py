"""Stored trunk features that are synthetic, with classes as far apart as a test needs."""

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.store import write_store

CLASSES = ["cup", "hat", "mug"]
IMAGE_DIM, TEXT_DIM = 6, 6


def make_products(count=60, seed=0):
    """Return products of three classes and three folds; a fifth is test, some have no photo or no text."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        media = [] if number % 11 == 5 else [f"{number}.jpg"] * int(rng.integers(1, 4))
        text = "" if number % 7 == 3 else f"text {number}"
        label = None if number % 13 == 12 else CLASSES[number % 3]
        test = number % 5 == 0
        rows.append((f"p{number}", media, text, label, "test" if test else "train", None if test else number % 4 % 3))
    schema = {"product_id": pl.String, "media": pl.List(pl.String), "text": pl.String, "label": pl.String}
    return pl.DataFrame(rows, schema=schema | {"split": pl.String, "fold": pl.Int64}, orient="row")


def write_trunk(folder, products, signal=1.0, seed=0, why_apart=None):
    """Write features of random noise plus `signal` in the direction of their class, also for the class names."""
    rng = np.random.default_rng(seed)
    directions = np.eye(3, IMAGE_DIM)

    def vector(label):
        return signal * directions[CLASSES.index(label)] * (label is not None) + rng.normal(size=IMAGE_DIM) / 3

    photos, texts = {}, {}
    for key, media, text, label in products.select("product_id", "media", "text", "label").iter_rows():
        known = label or CLASSES[0]
        # A product without media is one black photo in the shards.
        photos |= {photo_key(key, photo): vector(known) for photo in range(max(1, len(media)))}
        texts[text_key(text)] = vector(known)
    texts |= {text_key(label): directions[number] for number, label in enumerate(CLASSES)}
    for part, vectors in (("image", photos), ("text", texts)):
        write_store(
            folder / part, list(vectors), np.stack(list(vectors.values())).astype(np.float32), ("m", "v"), "float32"
        )
    write_json(folder / "joint.json", {"why_apart": why_apart})

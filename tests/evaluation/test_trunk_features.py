"""The vectors of the frozen trunk: against a slow loop, and of products without a modality."""

import numpy as np
import polars as pl
import pytest
from stored_trunk import make_products, write_trunk

from pipeline_lib.evaluation.baselines import trunk_features
from pipeline_lib.evaluation.baselines.trunk_features import read_trunk, unit
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.store import open_store


@pytest.mark.parametrize("block", [7, 4096])
def test_equals_a_slow_loop_for_any_block(tmp_path, monkeypatch, block):
    monkeypatch.setattr(trunk_features, "BLOCK", block)
    products = make_products()
    write_trunk(tmp_path, products)
    image, text = open_store(tmp_path / "image"), open_store(tmp_path / "text")
    features = read_trunk(tmp_path, products)
    for row, (key, media, description) in enumerate(products.select("product_id", "media", "text").iter_rows()):
        photos = np.zeros(6)
        for photo in range(len(media)):
            (one,) = image.rows([photo_key(key, photo)])
            photos += one / np.linalg.norm(one)
        photos = photos / np.linalg.norm(photos) if media else photos
        (vector,) = text.rows([text_key(description)]) if description else np.zeros((1, 6))
        vector = vector / np.linalg.norm(vector) if description else vector
        assert features.image[row] == pytest.approx(photos, abs=1e-6)
        assert features.text[row] == pytest.approx(vector, abs=1e-6)
        both = np.concatenate([photos, vector])
        assert features.joined()[row] == pytest.approx(both / max(np.linalg.norm(both), 1e-9), abs=1e-6)


def test_a_trunk_that_was_not_stored_is_none(tmp_path):
    assert read_trunk(tmp_path, make_products()) is None


def test_rows_of_zeros_are_unchanged():
    assert unit(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


def test_a_product_without_photo_and_text_is_zeros(tmp_path):
    products = make_products(4).with_columns(text=pl.lit(None, pl.String), media=pl.lit([], pl.List(pl.String)))
    write_trunk(tmp_path, make_products(4))
    assert not read_trunk(tmp_path, products).joined().any()

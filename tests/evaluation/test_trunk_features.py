import numpy as np
import polars as pl
import pytest
from stored_trunk import make_products, write_trunk

from pipeline_lib.evaluation.baselines import trunk_features
from pipeline_lib.evaluation.baselines.trunk_features import read_trunk, unit
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.store import open_store


@pytest.mark.parametrize("block", [7, 4096])
def test_equals_a_slow_loop_whatever_the_block(tmp_path, monkeypatch, block):
    monkeypatch.setattr(trunk_features, "BLOCK", block)
    products = make_products()
    write_trunk(tmp_path, products)
    image, text = open_store(tmp_path / "image"), open_store(tmp_path / "text")
    found = read_trunk(tmp_path, products)
    for row, (key, media, said) in enumerate(products.select("product_id", "media", "text").iter_rows()):
        seen = np.zeros(6)
        for photo in range(len(media)):
            (one,) = image.rows([photo_key(key, photo)])
            seen += one / np.linalg.norm(one)
        seen = seen / np.linalg.norm(seen) if media else seen
        (read,) = text.rows([text_key(said)]) if said else np.zeros((1, 6))
        read = read / np.linalg.norm(read) if said else read
        assert found.image[row] == pytest.approx(seen, abs=1e-6)
        assert found.text[row] == pytest.approx(read, abs=1e-6)
        both = np.concatenate([seen, read])
        assert found.joined()[row] == pytest.approx(both / max(np.linalg.norm(both), 1e-9), abs=1e-6)


def test_a_trunk_that_was_not_stored_is_none(tmp_path):
    assert read_trunk(tmp_path, make_products()) is None


def test_zeros_stay_zeros():
    assert unit(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


def test_a_product_without_anything_is_zeros(tmp_path):
    products = make_products(4).with_columns(text=pl.lit(None, pl.String), media=pl.lit([], pl.List(pl.String)))
    write_trunk(tmp_path, make_products(4))
    assert not read_trunk(tmp_path, products).joined().any()

"""The vectors of the frozen trunk: against a slow loop, and of products without a modality."""

import numpy as np
import polars as pl
import pytest
from stored_trunk import make_products, write_trunk

from pipeline_lib.evaluation.baselines import trunk_features
from pipeline_lib.evaluation.baselines.trunk_features import num_photos, read_trunk, unit
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.store import open_store, write_store


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


@pytest.fixture
def clips(tmp_path):
    """Two clips of one medium each: a has three frames of very different lengths, b#1 has one, under an id with #."""
    frames = {
        "a#0": [300, 400, 0], "a#1": [0, 1, 0], "a#2": [0, 0, 2], "b#1#0": [0, 5, 0], "c#0": [9, 9, 9],
    }  # fmt: skip
    write_store(tmp_path / "image", list(frames), np.array(list(frames.values()), np.float32), ("m", "v"), "float32")
    write_store(tmp_path / "text", [text_key("")], np.ones((1, 2), np.float32), ("m", "v"), "float32")
    media = [["clips/a.mp4"], ["clips/b.mp4"], []]
    return pl.DataFrame({"product_id": ["a", "b#1", "c"], "media": media, "text": ["", "", ""]})


def test_a_clip_is_the_mean_of_its_unit_frames(tmp_path, clips):
    """CLIP4Clip's mean pooling: unit frames, mean, unit again. The mean of the features would be nearly [.6, .8, 0]."""
    image = read_trunk(tmp_path, clips).image
    mean = np.array([0.6, 0.8 + 1, 1]) / 3
    assert image[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert image[1:].tolist() == [[0, 1, 0], [0, 0, 0]]  # c has no medium: its one photo is black


def test_stored_photos_are_counted_by_product(clips):
    keys = ["a#0", "a#1", "a#2", "b#1#0", "c#0", "elsewhere#0"]
    assert num_photos(keys, clips).tolist() == [3, 1, 0]


def test_a_product_that_the_store_lacks_is_named(tmp_path, clips):
    other = clips.with_columns(product_id=pl.Series(["a", "new", "c"]))
    with pytest.raises(ValueError, match="no features for 'new#0'"):
        read_trunk(tmp_path, other)

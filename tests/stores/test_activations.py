"""Stores of activations: round trips, padding to the longest item of a batch, and refused stores."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.features.boundaries import find_boundary
from pipeline_lib.stores.activations import ActivationWriter, open_activations
from pipeline_lib.stores.boundary import ItemCounts, TowerBoundary, check_size
from pipeline_lib.stores.store import HEADER, MATRIX
from pipeline_lib.towers.tower import ForwardBlock, TextTower, TowerSource

TEXT = TowerBoundary(True, 8, 2, "layer.1", (3,))
PHOTO = TowerBoundary(True, 8, 2, "block", (2, 2, 3))


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def write_texts(folder, lengths, width=3, dtype="float32", block=4):
    """Store texts of these lengths, block by block; the padding has a value that must not be stored."""
    writer = ActivationWriter(folder, sum(lengths), width, dtype)
    items = [drawn(length, width) + number for number, length in enumerate(lengths)]
    for start in range(0, len(items), block):
        part = items[start : start + block]
        longest = max(len(item) for item in part) + 1
        values, mask = np.full((len(part), longest, width), 99.0, np.float32), np.zeros((len(part), longest), bool)
        for row, item in enumerate(part):
            values[row, : len(item)], mask[row, : len(item)] = item, True
        writer.write([f"t{start + row}" for row in range(len(part))], values, mask)
    writer.close("enc", "pre", TowerBoundary(True, 8, 2, "layer.1", (width,)))
    return items


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=9),
    numbers=st.lists(st.integers(0, 99), min_size=1, max_size=6),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_texts_round_trip(tmp_path_factory, lengths, numbers, dtype):
    folder = tmp_path_factory.mktemp("store")
    items = write_texts(folder, lengths, dtype=dtype)
    store = open_activations(folder, "enc", "pre")
    rows = [number % len(lengths) for number in numbers]
    values, mask = store.gather([f"t{row}" for row in rows])
    expected = [lengths[row] for row in rows]
    assert store.lengths([f"t{row}" for row in rows]).tolist() == mask.sum(1).tolist() == expected
    assert values.shape == (len(rows), max(expected), 3) and values.dtype == dtype
    for value, own, row in zip(values, mask, rows, strict=True):
        assert np.array_equal(value[own], items[row].astype(dtype)) and not value[~own].any()


def test_photos_round_trip_in_any_order(tmp_path):
    values = drawn(5, 2, 2, 3)
    writer = ActivationWriter(tmp_path, 5 * 4, 3, "float32")
    writer.write(["a", "b", "c"], values[:3])
    writer.write(["d", "e"], values[3:])
    writer.close("enc", "pre", PHOTO)
    store = open_activations(tmp_path)
    assert np.array_equal(store.gather(["e", "a", "e"])[0], values[[4, 0, 4]])
    assert (store.header.groups_behind, store.header.first_group, store.header.grid) == (2, "block", [2, 2])


def test_a_gathered_batch_is_a_copy(tmp_path):
    items = write_texts(tmp_path, [2])
    values = torch.from_numpy(open_activations(tmp_path).gather(["t0"])[0])
    values.zero_()
    assert np.array_equal(open_activations(tmp_path).gather(["t0"])[0][0], items[0])


@pytest.mark.parametrize(
    ("expected", "text"), [({"encoder": "other"}, "encoder enc, but other"), ({"preprocessing": "x"}, "pre, but x")]
)
def test_another_encoder_or_preprocessing_is_refused(tmp_path, expected, text):
    write_texts(tmp_path, [2, 1])
    with pytest.raises(ValueError, match=text):
        open_activations(tmp_path, **expected)


def test_an_incomplete_store_is_refused(tmp_path):
    write_texts(tmp_path, [2, 1])
    with pytest.raises(ValueError, match="no activations for 'z' among 2 ids"):
        open_activations(tmp_path).gather(["t0", "z"])
    table = pl.read_parquet(tmp_path / "ids.parquet")
    table.head(1).write_parquet(tmp_path / "ids.parquet")
    with pytest.raises(ValueError, match=r"1 ids of 2 tokens and a \(3, 3\) matrix"):
        open_activations(tmp_path)
    table.write_parquet(tmp_path / "ids.parquet")
    data = (tmp_path / MATRIX).read_bytes()
    (tmp_path / MATRIX).write_bytes(data[:-4])
    with pytest.raises(ValueError, match="truncated"):
        open_activations(tmp_path)
    (tmp_path / HEADER).unlink()
    with pytest.raises(ValueError, match="no feature store here"):
        open_activations(tmp_path)


def test_a_store_with_missing_items_gets_no_header(tmp_path):
    writer = ActivationWriter(tmp_path, 3, 3, "float32")
    writer.write(["a"], drawn(1, 2, 3), np.ones((1, 2), bool))
    with pytest.raises(AssertionError):
        writer.close("enc", "pre", TEXT)
    assert not (tmp_path / HEADER).exists()


def test_a_value_out_of_float16s_range_is_refused(tmp_path):
    with pytest.raises(ValueError, match="beyond the range of float16"):
        ActivationWriter(tmp_path, 1, 1, "float16").write(["a"], np.full((1, 1, 1), 1e6, np.float32))


def test_sizes_are_reported_and_too_large_stores_are_refused():
    """COCO's photos at 7 x 7 x 768 in float16: 113,287 x 75,264 bytes = 8.53 GB, and 768 x 2 each for the output."""
    boundaries = {
        "image": TowerBoundary(True, 768, 4, "stages.3.blocks.0", (7, 7, 768)),
        "text": TowerBoundary(False, 0, 4, "layer.4", (256,), "parts of it are new"),
    }
    counts = {"image": ItemCounts(113_287, 113_287 * 49), "text": ItemCounts(10, 120)}
    lines = check_size(boundaries, counts, "float16", 50)
    assert lines == [
        "text: parts of it are new",
        "to be stored as float16: 113287 photos: output 174 MB, before stages.3.blocks.0 (7 x 7 x 768) 8.53 GB; "
        "10 texts: before layer.4 (120 tokens x 256) 61.4 KB",
    ]
    with pytest.raises(
        ValueError, match=r"features.max_gb = 8, but 8\.7 GB would be stored as float16 \(.*8\.53 GB.*set"
    ):
        check_size(boundaries, counts, "float16", 8)
    with pytest.raises(ValueError, match=r"but 17\.4 GB would be stored as float32"):
        check_size(boundaries, counts, "float32", 8)


class Chain(TextTower):
    """Three layer groups in two blocks: there is no boundary between the first two groups."""

    def __init__(self):
        super().__init__()
        self.dim = 2
        self.first, self.second, self.pool = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def tokens(self, token_ids, mask):
        raise NotImplementedError

    def checkpoint_activations(self):
        return False

    def layer_groups(self):
        return [LayerGroup(name, (f"{name}.weight", f"{name}.bias")) for name in ("first", "second", "pool")]

    def forward_blocks(self, mask=None):
        both = ForwardBlock(("first", "second"), lambda x: self.second(self.first(x)))
        return [both, ForwardBlock(("pool",), self.pool)]


def test_the_boundary_of_a_tower():
    tower, source = Chain(), TowerSource({}, "here", {})

    def boundary(layers, source=source):
        return find_boundary("text", tower, source, layers, lambda _: torch.zeros(1, 2, 5))

    assert boundary(0) == TowerBoundary(True, 2)
    assert boundary(1) == TowerBoundary(True, 2, 1, "pool", (5,))
    reason = "Linear has no boundary before the last 2 of its 3 layer groups, so no activations are stored"
    assert boundary(2).note == reason
    assert boundary(9).num_suffix_groups == 0 and boundary(9).pooled
    new = TowerSource({}, "here", {}, new=("pool.",))
    assert (boundary(1, new).pooled, boundary(1, new).num_suffix_groups) == (False, 1)
    initialized = TowerSource({}, "here", {}, new=("second.",))
    assert (boundary(1, initialized).pooled, boundary(1, initialized).num_suffix_groups) == (False, 0)

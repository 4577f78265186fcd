"""bfloat16 in numpy: the rounding of torch bit for bit, and stores that return exactly the stored values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.stores.activations import ActivationWriter, open_activations
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.numbers import as_floats, as_stored
from pipeline_lib.stores.store import MATRIX, open_store, write_store

EDGES = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 1e-40, -1e-45, 3.38e38, 65504.0, -1e6]


def as_torch(values):
    return torch.from_numpy(values).bfloat16()


@settings(max_examples=200)
@given(st.lists(st.floats(-(2.0**127), 2.0**127, width=32), max_size=20))
def test_rounding_equals_torchs(drawn):
    values = np.array([*EDGES, *drawn], np.float32)
    stored, finite = as_stored(values, "bfloat16")
    assert finite and np.array_equal(stored, as_torch(values).view(torch.uint16).numpy())
    assert np.array_equal(as_floats(stored), as_torch(values).float().numpy())


def test_every_bfloat16_round_trips():
    bits = np.arange(2**16, dtype=np.uint16)
    values = torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    finite = np.isfinite(values)
    assert np.array_equal(as_floats(bits)[finite], values[finite])
    stored, all_finite = as_stored(values[finite], "bfloat16")
    assert all_finite and np.array_equal(stored, bits[finite])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max, 1e39])
def test_a_value_out_of_range_is_refused(value, tmp_path):
    """The largest float32 rounds up to infinity."""
    assert not as_stored(np.array([1.0, value]), "bfloat16")[1]
    with pytest.raises(ValueError, match="beyond the range of bfloat16|as the encoder computed it"):
        write_store(tmp_path, ["a"], np.array([[1.0, value]]), ("enc", "pre"), "bfloat16")


def test_a_feature_store_returns_torchs_values(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) * 1e6  # beyond float16
    write_store(tmp_path, list("abcde"), values, ("enc", "pre"), "bfloat16")
    stored = torch.from_numpy(np.load(tmp_path / MATRIX)).view(torch.bfloat16)
    assert stored.dtype == torch.bfloat16 and torch.equal(stored, as_torch(values))
    rows = open_store(tmp_path).rows(["d", "a"])
    assert rows.dtype == np.float32 and np.array_equal(rows, stored[[3, 0]].float().numpy())
    assert (tmp_path / MATRIX).stat().st_size < 5 * 3 * 2 + 200


@pytest.mark.parametrize("grid", [(2, 2), ()])
def test_an_activation_store_returns_torchs_values(tmp_path, grid):
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    mask = None if grid else np.arange(4) < np.array([[2], [4], [1]])
    writer = ActivationWriter(tmp_path, 12 if grid else 7, 5, "bfloat16")
    writer.write(list("abc"), values.reshape(3, *(grid or (4,)), 5), mask)
    writer.close("enc", "pre", TowerBoundary(True, 8, 2, "block", (*grid, 5)))
    values_read, mask_read = open_activations(tmp_path).gather(["c", "b"])
    expected = as_torch(values[[2, 1]]).float().numpy() * (1 if grid else mask[[2, 1], :, None])
    assert values_read.dtype == np.float32 and np.array_equal(values_read.reshape(2, 4, 5), expected)
    assert np.array_equal(mask_read, mask[[2, 1]] if not grid else np.ones((2, 4), bool))

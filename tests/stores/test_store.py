from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.stores.store import HEADER, MATRIX, MatrixWriter, open_store, write_store


def matrix(count, dim):
    return np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)


@settings(max_examples=20)
@given(count=st.integers(0, 9), dim=st.integers(1, 5), dtype=st.sampled_from(["float16", "float32"]))
def test_round_trip(tmp_path_factory, count, dim, dtype):
    folder = tmp_path_factory.mktemp("store")
    ids, values = [f"商品/{n}#1" for n in range(count)], matrix(count, dim)
    write_store(folder, ids, values, ("enc", "pre"), dtype)
    store = open_store(folder, "enc", "pre")
    assert store.ids == ids
    assert np.array_equal(store.rows(ids[::-1]), values.astype(dtype).astype(np.float32)[::-1])
    assert np.array_equal(np.load(folder / MATRIX), values.astype(dtype))


def test_equal_values_give_equal_bytes(tmp_path):
    for name in "ab":
        write_store(tmp_path / name, ["x", "y"], matrix(2, 3), ("enc", "pre"))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_blocks_in_any_order_equal_one_matrix(tmp_path):
    values = matrix(7, 3)
    writer = MatrixWriter(tmp_path, 7, 3, "float32")
    for start in (4, 0, 2, 6):
        writer.write(start, values[start : start + 2])
    writer.close([str(n) for n in range(7)], "enc", "pre")
    assert np.array_equal(open_store(tmp_path).matrix, values)


def test_a_missing_id_is_named(tmp_path):
    write_store(tmp_path, ["a"], matrix(1, 2), ("enc", "pre"))
    with pytest.raises(ValueError, match="no features for 'b' among 1 ids"):
        open_store(tmp_path).rows(["a", "b"])


@pytest.mark.parametrize(("expected", "text"), [({"encoder": "other"}, "encoder enc"), ({"preprocessing": "x"}, "pre")])
def test_another_encoder_or_preprocessing_is_refused(tmp_path, expected, text):
    write_store(tmp_path, ["a"], matrix(1, 2), ("enc", "pre"))
    with pytest.raises(ValueError, match=f"made by .*{text}"):
        open_store(tmp_path, **expected)


def test_a_truncated_matrix_is_refused(tmp_path):
    write_store(tmp_path, ["a", "b"], matrix(2, 4), ("enc", "pre"))
    data = (tmp_path / MATRIX).read_bytes()
    (tmp_path / MATRIX).write_bytes(data[:-3])
    with pytest.raises(ValueError, match=f"truncated: {len(data) - 3} bytes of {len(data)}"):
        open_store(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    write_store(tmp_path, ["a", "b"], matrix(2, 4), ("enc", "pre"))
    (tmp_path / MATRIX).write_bytes(b"no matrix of numpy")
    with pytest.raises(ValueError, match=r"matrix.npy: damaged.*not a .npy file: the magic string is not correct"):
        open_store(tmp_path)


def test_a_store_without_header_is_incomplete(tmp_path):
    writer = MatrixWriter(tmp_path, 2, 4, "float16")
    writer.write(0, matrix(2, 4))
    with pytest.raises(ValueError, match=f"its {HEADER} is missing"):
        open_store(tmp_path)


def test_a_value_out_of_float16s_range_is_refused(tmp_path):
    """The setting that the message names has the value that it names."""
    message = "row 1 has the value -1e[+]06, beyond the range of float16; set features.dtype = float32"
    with pytest.raises(ValueError, match=message):
        write_store(tmp_path, ["a", "b"], np.array([[1.0, 2.0], [-1e6, 3.0]], np.float32), ("enc", "pre"))
    assert "float32" in get_args(FeaturesParams.model_fields["dtype"].annotation)


def test_a_value_that_no_format_holds_has_another_way_out(tmp_path):
    message = r"row 0 is nan, as the encoder computed it; set .*features.precision or embed.precision. to fp32"
    with pytest.raises(ValueError, match=message):
        write_store(tmp_path, ["a"], np.array([[1.0, np.nan]], np.float32), ("enc", "pre"), "float32")
    for params in (FeaturesParams, EmbedParams):
        assert "fp32" in get_args(params.model_fields["precision"].annotation)


def test_ids_must_match_rows(tmp_path):
    with pytest.raises(ValueError, match="1 ids for 2 rows"):
        write_store(tmp_path, ["a"], matrix(2, 2), ("enc", "pre"))

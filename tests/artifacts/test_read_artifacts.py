"""A damaged file of any kind is one line with its name and a way out; a sound one has the value that was written."""

import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from damages import GROSS, flipped

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.read import RESTORE, read_json, read_object, read_table, reading, way_out

# Name -> what it makes of a file's bytes.
DAMAGES = GROSS | {"first and last byte flipped": lambda data: flipped(1)(flipped(0)(data))}


@dataclass(frozen=True)
class Inner:
    count: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner | None = None


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_json_is_one_line_with_its_name(tmp_path, damage):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1})
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"^.*/a\.json: damaged, or of another version \(.+\); copy .*$") as caught:
        read_object(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_one_line_with_its_name(tmp_path, damage):
    path = tmp_path / "a.parquet"
    write_table(pl.DataFrame({"b": [1, 2]}), path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"^.*/a\.parquet: damaged, or of another version \(.+\); copy .*$"):
        read_table(path)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([1], "Input should be an object"),
        ({"a": 1}, "it has no 'b'"),
        ({"b": []}, "its 'b' is no dict"),
    ],
)
def test_an_object_of_another_shape_is_refused(tmp_path, value, fault):
    write_json(tmp_path / "x", value)
    with pytest.raises(ValueError, match=f"x: damaged, or of another version .{fault}"):
        read_object(tmp_path / "x", b=dict)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"inner": None}, "name: Field required"),
        ({"name": 3}, "name: Input should be a valid string"),
        ({"name": "a", "inner": {"count": "1", "shape": []}}, "inner.count: Input should be a valid integer"),
        ({"name": "a", "inner": {"count": 1, "shape": [1, "2"]}}, r"inner.shape.1: Input should be a valid integer"),
    ],
)
def test_the_fault_of_a_nested_value_is_located(tmp_path, value, fault):
    write_json(tmp_path / "x", value)
    with pytest.raises(ValueError, match=fault):
        read_json(tmp_path / "x", Outer)


def test_nested_records_and_lists_are_read_back(tmp_path):
    write_json(tmp_path / "x", {"name": "杯", "inner": {"count": 1, "shape": [1, 2]}})
    assert read_json(tmp_path / "x", Outer) == Outer("杯", Inner(1, (1, 2)))
    write_json(tmp_path / "x", ["a", "b"])
    assert read_json(tmp_path / "x", list[str]) == ["a", "b"]


def test_numbers_are_those_that_were_written(tmp_path):
    draw = random.Random(0)
    numbers = [struct.unpack("d", draw.randbytes(8))[0] for _ in range(2000)]
    value = {"x": [one for one in numbers if one - one == 0] + [0.1, -0.0, 5e-324, 10**30]}
    write_json(tmp_path / "x", value)
    assert json.dumps(read_object(tmp_path / "x")) == json.dumps(value)


def test_brackets_without_end_are_refused(tmp_path):
    (tmp_path / "x").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="x: damaged.*recursion limit"):
        read_json(tmp_path / "x", list[str])


def test_a_missing_column_is_named(tmp_path):
    write_table(pl.DataFrame({"b": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: damaged.*c"):
        read_table(tmp_path / "a.parquet", ["c"])


def test_a_missing_file_stays_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.json"):
        read_object(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"a.parquet: no such table; run `dvc repro`"):
        read_table(tmp_path / "a.parquet")


def test_an_interruption_is_no_damage():
    with pytest.raises(KeyboardInterrupt), reading(Path("x")):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (paths.train_of(0) / "model.json", RESTORE),
        (paths.METRICS, RESTORE),
        (paths.COPIES / "trunk-1/matrix.npy", "delete data/work/copies"),
        (Path("data/starts/large/0/model.json"), "`vitrine keep` it again, or copy it again"),
    ],
)
def test_the_way_out_fits_the_folder(path, expected):
    assert expected in way_out(path)

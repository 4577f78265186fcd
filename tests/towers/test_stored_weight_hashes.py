"""The hash of a tower's weights is stored with their file, and is always that of the values by their names."""

import time

import pytest
import torch
from safetensors.torch import save_file

from pipeline_lib.artifacts import digest_cache
from pipeline_lib.towers import weights
from pipeline_lib.towers.file_tensors import FileTensors, rename_tensors, with_prefix
from pipeline_lib.towers.weights import weights_hash

STATE = {"a": torch.arange(4.0), "b": torch.ones(2, 2, dtype=torch.float16), "n": torch.tensor(3)}


@pytest.fixture
def hashed(monkeypatch, tmp_path):
    """The states whose values are hashed, in a project; all files count as large, and as changed a minute ago."""
    states, original = [], weights._hash_values
    monkeypatch.setattr(weights, "_hash_values", lambda state: states.append(sorted(state)) or original(state))
    monkeypatch.setattr(digest_cache, "MIN_BYTES", 0)
    monkeypatch.setattr(digest_cache, "time_ns", lambda: time.time_ns() + 60 * 10**9)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / digest_cache.FILE).parent.mkdir(parents=True)
    return states


@pytest.fixture
def file(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_values_of_a_file_are_hashed_once_for_each_way_to_name_them(file, hashed):
    """Other names, some of the tensors, and two that change places are other weights."""
    of_file = FileTensors.of([file])
    ways = {
        "all": of_file, "prefixed": with_prefix(of_file, "trunk."), "some": rename_tensors(of_file, {"a": "a"}),
        "swapped": rename_tensors(of_file, {"a": "b", "b": "a", "n": "n"}),
    }  # fmt: skip
    first = {name: weights_hash(tensors) for name, tensors in ways.items()}
    assert len(hashed) == len(ways) == len(set(first.values()))
    again = FileTensors.of([file])
    assert weights_hash(again) == first["all"] and weights_hash(with_prefix(again, "trunk.")) == first["prefixed"]
    assert len(hashed) == len(ways)
    for name, tensors in ways.items():
        assert weights_hash(dict(tensors)) == first[name]  # in memory


def test_decimals_read_as_float32_have_the_same_hash(file, hashed):
    """The hash is that of float32 values; the two ways to read them are stored apart all the same."""
    assert weights_hash(FileTensors.of([file])) == weights_hash(FileTensors.of([file], as_float32=True))
    assert len(hashed) == 2


def test_other_weights_in_the_file_have_another_hash(file, hashed):
    before = weights_hash(FileTensors.of([file]))
    save_file(STATE | {"a": STATE["a"] + 1}, file)
    assert weights_hash(FileTensors.of([file])) != before
    save_file(STATE, file)
    assert weights_hash(FileTensors.of([file])) == before


def test_weights_in_several_files_are_hashed_each_time(tmp_path, file, hashed):
    other = tmp_path / "more.safetensors"
    save_file({"c": torch.ones(3)}, other)
    both = weights_hash(FileTensors.of([file, other]))
    assert weights_hash(FileTensors.of([file, other])) == both == weights_hash(STATE | {"c": torch.ones(3)})
    assert len(hashed) == 3

"""Weights that stay in their file: the values and the hash of loaded ones, with one tensor in memory at a time."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from model_settings import make_model_params
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_clip import CONFIG, make_clip, resolved, written
from transformers import AutoModel

from pipeline_lib.towers import file_tensors
from pipeline_lib.towers.file_tensors import FileTensors, rename_tensors
from pipeline_lib.towers.hf_text_tower import resolve_hf
from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower, resolve_towers, untrained_text_tower
from pipeline_lib.towers.timm_tower import _published_weights
from pipeline_lib.towers.weights import weights_hash


def equal(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_tensors_and_hash_are_those_of_the_loaded_file(tmp_path):
    tensors = {"b": torch.randn(3, 4), "a.c": torch.arange(5), "h": torch.randn(7).half(), "e": torch.zeros(0, 2)}
    save_file(tensors, tmp_path / "one.safetensors")
    lazy = FileTensors.of([tmp_path / "one.safetensors"])
    assert equal(lazy, load_file(tmp_path / "one.safetensors")) and len(lazy) == 4
    assert lazy.shapes() == {name: tuple(value.shape) for name, value in tensors.items()}
    assert weights_hash(lazy) == weights_hash(tensors)
    names = {"x.b": "b", "x.h": "h"}
    assert equal(rename_tensors(lazy, names), rename_tensors(tensors, names))
    assert FileTensors.of([tmp_path / "one.safetensors"], as_float32=True)["h"].dtype == torch.float32


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path):
    """Its hash would be that of weights which are no longer there."""
    file = tmp_path / "one.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    lazy = FileTensors.of([file])
    save_file({"a": torch.ones(3)}, tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").replace(file)
    with pytest.raises(ValueError, match=r"one\.safetensors: changed while this stage was running; start it again"):
        lazy["a"]


def test_a_file_is_opened_once_for_many_small_tensors_and_anew_for_large_ones(tmp_path, monkeypatch):
    """Each opening parses the header of all tensors; an open file holds the pages that were read."""
    opened = []
    monkeypatch.setattr(file_tensors, "safe_open", lambda path, *rest: opened.append(path) or safe_open(path, *rest))
    for name, size in (("small", 10), ("large", 9 << 20)):
        save_file({f"{number}": torch.zeros(size, dtype=torch.uint8) for number in range(6)}, tmp_path / name)
    lazy = {name: FileTensors.of([tmp_path / name]) for name in ("small", "large")}
    for name, times in (("small", 1), ("large", 3)):
        opened.clear()
        assert len([lazy[name][f"{number}"] for number in range(6)]) == 6
        assert opened == [tmp_path / name] * times


def test_a_cut_file_is_one_line(tmp_path):
    save_file({"a": torch.zeros(300)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a complete \.safetensors file"):
        FileTensors.of([tmp_path / "cut.safetensors"])


def text_params(folder):
    return make_model_params(text={"name": str(folder)})


def old(name):
    """A name as files that were converted from TensorFlow have it."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@pytest.mark.parametrize("rename", [str, "bert.{}".format, old, lambda name: old(f"bert.{name}")])
def test_a_text_tower_is_what_the_library_loads_from_its_folder(tiny_text_folder, tmp_path, rename):
    state = load_file(tiny_text_folder / "model.safetensors")
    for file in tiny_text_folder.iterdir():
        if file.suffix == ".json" or file.suffix == ".txt":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    plain = {name.removeprefix("bert."): value for name, value in state.items()}
    more = {"cls.predictions.bias": torch.zeros(3)}  # of a head
    save_file({rename(name): value.clone() for name, value in plain.items()} | more, tmp_path / "model.safetensors")
    source = resolve_hf(text_params(tmp_path))
    assert isinstance(source.state, FileTensors)
    loaded = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False, dtype=torch.float32).state_dict()
    assert equal(source.state, {f"trunk.{name}": value for name, value in loaded.items()})
    assert source.state_hash == weights_hash({f"trunk.{name}": value for name, value in loaded.items()})
    tower = untrained_text_tower(source, "cpu")
    assert torch.equal(tower.trunk.embeddings.word_embeddings.weight, loaded["embeddings.word_embeddings.weight"])


def test_a_file_that_the_library_has_to_translate_is_loaded_by_it(tiny_text_folder, tmp_path):
    """Two places for one tensor: which of them counts is the library's affair."""
    for file in tiny_text_folder.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    both = state | {f"bert.{name}": state[name].clone(), name: state[name]}
    save_file(both, tmp_path / "model.safetensors")
    source = resolve_text_tower(text_params(tmp_path))
    assert isinstance(source.state, dict)
    assert source.state_hash == resolve_text_tower(text_params(tiny_text_folder)).state_hash


def clip_sources(folder):
    save_file(make_clip().state_dict(), folder / "clip.safetensors")
    return resolved(written(folder, CONFIG), folder / "clip.safetensors")


@pytest.mark.parametrize("kind", ["timm and hf", "open_clip"])
def test_every_kind_of_tower_keeps_its_weights_in_the_file(kind, tiny_image_folder, tiny_text_folder, tmp_path):
    image, text = {"name": str(tiny_image_folder)}, {"name": str(tiny_text_folder)}
    sources = clip_sources(tmp_path) if kind == "open_clip" else resolve_towers(make_model_params(image, text))
    for source in sources.values():
        assert isinstance(source.state, FileTensors) and len(source.state)
        assert weights_hash(dict(source.state)) == source.state_hash
        assert source.identity().fingerprint == source.fingerprint


@pytest.mark.parametrize(("size", "in_file"), [(32, True), (48, False)])
def test_a_vit_of_another_size_than_its_file_is_resized_by_timm(size, in_file, tmp_path):
    args = {"depth": 2, "embed_dim": 12, "num_heads": 2, "patch_size": 16, "img_size": 32}
    trunk = timm.create_model("vit_tiny_patch16_224", num_classes=5, **args)
    save_file(trunk.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "model_args": args | {"img_size": size}, "num_classes": 5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = resolve_image_tower(make_model_params({"name": str(tmp_path), "size": size}))
    loaded = _published_weights(source.description, {"file": str(tmp_path / "model.safetensors")})
    assert isinstance(source.state, FileTensors) == in_file
    assert equal(source.state, {f"trunk.{name}": value for name, value in loaded.items()})
    assert source.state["trunk.pos_embed"].shape[1] == 1 + (size // 16) ** 2


def peak():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_hash_has_one_tensor_in_memory_at_a_time(tmp_path):
    size = 8 << 20
    save_file({f"layer.{number}": torch.zeros(size // 4) for number in range(20)}, tmp_path / "large.safetensors")
    lazy = FileTensors.of([tmp_path / "large.safetensors"])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the present size
    before = peak()
    weights_hash(lazy)
    assert peak() - before < 4 * size  # all of them have 20

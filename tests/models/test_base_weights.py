"""A saved model holds what was trained; the rest is read from its base, to the bit, or refused."""

import json
import os
from dataclasses import replace

import pytest
import torch
from cached_towers import SHARED
from model_settings import make_model_params
from safetensors.torch import load_file, save_file
from tiny_clip import CONFIG, make_clip, written

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.models.base_weights import BaseWeights, OtherBaseError
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, make_whole, read_state, save_model
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.towers.weights import unique_state
from pipeline_lib.training.cut_vocabulary import cut_vocabulary
from pipeline_lib.transforms.tokenize import TextTokenizer


def named(image, text, **changes):
    params = make_model_params({"name": str(image)}, {"name": str(text)}, **changes)
    return BaseWeights(params, resolve_towers(params))


@pytest.fixture
def base(tiny_image_folder, tiny_text_folder):
    return named(tiny_image_folder, tiny_text_folder)


def built(base, sources=None):
    """The model of a run before its first step."""
    torch.manual_seed(7)
    sources = sources or base.sources
    return build_model(describe(base.params, sources, True, ["hat", "mug"]), sources)


def train(model, *names):
    """Change the parameters whose names start with one of `names`, and all heads."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith(names) or not name.startswith(("image.", "text.")):
                value.add_(torch.randn(value.shape, generator=generator))
    return model


def bits(state):
    return {name: (value.dtype, value.shape, value.numpy().tobytes()) for name, value in state.items()}


def round_trip(model, base, folder):
    """Save with and without the base; return the names in the file, after checking that both load to the same bits."""
    identity = save_model(folder / "whole", model, {"fold": 0})
    assert save_model(folder / "own", model, {"fold": 0}, base) == identity
    expected = bits(unique_state(model))
    assert bits(read_state(folder / "own")) == bits(read_state(folder / "whole")) == expected
    loaded = load_model(folder / "own")
    assert bits(unique_state(loaded.model)) == expected and loaded.fingerprint == identity
    names = load_file(folder / "own/model.safetensors").keys()
    originals = {name: (folder / "own" / name).read_bytes() for name in ("model.json", "model.safetensors")}
    for name in originals:
        os.link(folder / "own" / name, folder / f"cached-{name}")  # as DVC's cache has them with cache.type hardlink
    make_whole(folder / "own")
    assert {name: (folder / f"cached-{name}").read_bytes() for name in originals} == originals
    for file in ("model.safetensors", "model.json"):
        assert (folder / "own" / file).read_bytes() == (folder / "whole" / file).read_bytes()
    return set(names)


def test_frozen_towers_take_no_room(base, tmp_path):
    model = train(built(base))
    save_model(tmp_path / "size", model, {}, base)
    heads = sum(value.nbytes for _, value in model.head_parameters())
    assert (tmp_path / "size/model.safetensors").stat().st_size < heads + 2048
    assert round_trip(model, base, tmp_path) == {name for name, _ in model.head_parameters()}


def test_only_trained_layers_are_saved(base, tmp_path):
    open_ = ("image.trunk.stages.3.", "text.trunk.encoder.layer.2.")
    model = train(built(base), *open_)
    expected = {name for name, _ in model.named_parameters() if name.startswith(open_)}
    assert round_trip(model, base, tmp_path) == expected | {name for name, _ in model.head_parameters()}


def test_a_model_of_which_all_was_trained_is_whole(base, tmp_path):
    model = train(built(base), "image.", "text.")
    round_trip(model, base, tmp_path)
    save_model(tmp_path / "again", model, {"fold": 0}, base)
    assert "base" not in read_object(tmp_path / "again/model.json")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_one_constant_tensor_is_no_reason_for_a_base(base, tmp_path):
    """A table that no step changes, of a tower that is otherwise trained."""
    model = train(built(base), "image.", "text.")
    with torch.no_grad():
        name = "text.trunk.encoder.layer.0.output.LayerNorm.bias"
        model.get_parameter(name).copy_(base.sources["text"].state[name.removeprefix("text.")])
    assert name in round_trip(model, base, tmp_path)


def test_values_differ_by_their_bits(base, tmp_path):
    """A negative zero is no zero, and a NaN is equal to itself."""
    state = dict(base.sources["text"].state)
    key = "trunk.encoder.layer.0.output.dense.bias"
    state[key][:2] = torch.tensor([0.0, float("nan")])
    base = replace(base, sources=base.sources | {"text": replace(base.sources["text"], state=state)})
    nan = train(built(base))
    assert f"text.{key}" not in _saved(nan, base, tmp_path / "nan")
    with torch.no_grad():
        nan.get_parameter(f"text.{key}")[0] = -0.0
    assert f"text.{key}" in _saved(nan, base, tmp_path / "zero")


def _saved(model, base, folder):
    save_model(folder, model, {}, base)
    return load_file(folder / "model.safetensors")


def test_half_precision_weights_are_a_base(tiny_image_folder, tiny_text_folder, tmp_path):
    """A tower is built in float32, whatever the format of the published weights."""
    state = load_file(tiny_image_folder / "model.safetensors")
    save_file({name: value.half() for name, value in state.items()}, tmp_path / "half.safetensors")
    params = make_model_params(
        {"name": str(tiny_image_folder), "weights": str(tmp_path / "half.safetensors")}, {"name": str(tiny_text_folder)}
    )
    base = BaseWeights(params, resolve_towers(params))
    assert base.sources["image"].state["trunk.stem.0.weight"].dtype == torch.float16
    assert not [name for name in round_trip(train(built(base)), base, tmp_path) if name.startswith("image.")]


def test_the_rows_of_a_cut_vocabulary_are_saved(base, tiny_text_folder, tmp_path):
    text, _ = cut_vocabulary(base.sources["text"], TextTokenizer(tiny_text_folder), ["red mug"])
    names = round_trip(train(built(base, {**base.sources, "text": text})), base, tmp_path)
    assert {name for name in names if name.startswith(("image.", "text."))} == {
        "text.trunk.embeddings.word_embeddings.weight"
    }


def test_adapters_and_new_poolings_are_saved(tiny_text_folder, tmp_path):
    """With the other half of the tower from its base, whose table of positions was resized for another image size."""
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    folder = tmp_path / "vit"
    folder.mkdir()
    import timm

    torch.manual_seed(1)
    save_file(
        timm.create_model("vit_tiny_patch16_224", num_classes=0, **args).state_dict(), folder / "model.safetensors"
    )
    config = {"architecture": "vit_tiny_patch16_224", "model_args": args, "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    params = make_model_params(
        {"name": str(folder), "size": 48, "pooling": "attentive"},
        {"name": str(tiny_text_folder), "pooling": "attentive"},
        register_memory={"slots_private": 2, "slots_shared": 3},
        positional_conv={"after_block": 1, "stride": 1},
    )
    base = BaseWeights(params, resolve_towers(params))
    names = round_trip(train(built(base)), base, tmp_path)
    inside = {name for name in names if name.startswith(("image.", "text."))}
    assert inside and all("register_memory" in name or "positional_conv" in name or ".pool." in name for name in inside)


def test_tensors_with_several_names_are_left_out_once(tiny_text_folder, tmp_path):
    import timm

    ((name, (args, size)),) = SHARED.items()
    torch.manual_seed(2)
    file = tmp_path / "coat.safetensors"
    state = timm.create_model(name, num_classes=0, **args).state_dict()
    save_file({key: value.clone() for key, value in state.items()}, file)
    params = make_model_params(
        {"name": name, "args": args, "size": size, "weights": str(file)}, {"name": str(tiny_text_folder)}
    )
    base = BaseWeights(params, resolve_towers(params))
    assert not [key for key in round_trip(train(built(base)), base, tmp_path) if key.startswith("image.")]


def test_a_pair_of_one_checkpoint_is_a_base(tmp_path):
    clip = make_clip()
    save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, tmp_path / "clip.safetensors")
    both = {"kind": "open_clip", "name": written(tmp_path, CONFIG), "weights": str(tmp_path / "clip.safetensors")}
    params = make_model_params(both, {**both, "pooling": "last", "max_tokens": 77}, embedding_dim=CONFIG["embed_dim"])
    base = BaseWeights(params, resolve_towers(params))
    assert not [key for key in round_trip(train(built(base)), base, tmp_path) if key.startswith(("image.", "text."))]


def test_random_towers_have_no_base(tiny_image_folder, tiny_text_folder, tmp_path):
    params = make_model_params({"name": str(tiny_image_folder), "pretrained": False}, {"name": str(tiny_text_folder)})
    base = BaseWeights(params, resolve_towers(params))
    names = round_trip(train(built(base)), base, tmp_path)
    assert {name.split(".")[0] for name in names} >= {"image"} and not [name for name in names if name[:5] == "text."]


@pytest.fixture
def moved(tiny_image_folder, tiny_text_folder, tmp_path):
    """A model with its base in a folder that a test may change: the folders of the model and of the image weights."""
    folder = tmp_path / "image"
    folder.mkdir()
    for file in tiny_image_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    base = named(folder, tiny_text_folder)
    save_model(tmp_path / "model", train(built(base)), {}, base)
    return tmp_path / "model", folder


def test_another_base_is_refused(moved):
    model, weights = moved
    old = read_object(model / "model.json")["base"]["image"]["hash"]
    state = load_file(weights / "model.safetensors")
    save_file({**state, "stem.0.weight": state["stem.0.weight"] + 1}, weights / "model.safetensors")
    for read in (load_model, read_state, make_whole):
        with pytest.raises(OtherBaseError) as error:
            read(model)
        line = (
            f"{model}: the weights that its image tower shares with {weights}/model.safetensors had the hash {old}, now"
        )
        assert str(error.value).startswith(line) and "dvc checkout" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_missing_base_is_named(moved):
    model, weights = moved
    (weights / "model.safetensors").unlink()
    with pytest.raises(
        OtherBaseError, match=rf"{model}: the weights that its image tower shares with .* cannot be rea"
    ):
        load_model(model)


def test_other_parts_are_read_without_their_base(moved):
    model, weights = moved
    (weights / "model.safetensors").unlink()
    assert {name.split(".")[0] for name in read_state(model, ())} == {"head", "logit_scale"}
    assert {name.split(".")[0] for name in read_state(model, ("text",))} == {"head", "logit_scale", "text"}


def test_a_file_with_the_card_of_another_model_is_refused(moved, tmp_path, base):
    save_model(tmp_path / "other", train(built(base), "image.trunk.stages.3."), {}, base)
    (moved[0] / "model.safetensors").write_bytes((tmp_path / "other/model.safetensors").read_bytes())
    with pytest.raises(
        ValueError, match=r"does not fit the card beside it, e.g. image.trunk.stages.3.*copy the folder"
    ):
        read_state(moved[0], checked=False)
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged, .*its checksum is"):
        load_model(moved[0])


def test_paths_of_the_base_are_found_below_a_project(moved, monkeypatch, tmp_path):
    model, _ = moved
    card = read_object(model / "model.json")
    card["base"]["image"]["file"] = "image/model.safetensors"
    (model / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(OtherBaseError, match="cannot be read"):
        read_state(model)
    assert read_state(model, root=tmp_path).keys() > read_state(model, ()).keys()

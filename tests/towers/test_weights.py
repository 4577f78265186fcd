"""Weights that change without a call of `train()`, and tensors that a tower has under several names."""

import copy

import pytest
import torch
from cached_towers import CACHED, SHARED, small_tower, source_of
from safetensors.torch import load_file
from torch import nn

from pipeline_lib.inference.wise_ft import interpolate
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.towers.probe import by_first_names
from pipeline_lib.towers.timm_tower import TimmTower
from pipeline_lib.towers.weights import further_names, load_strictly, unique_state, weights_hash, with_first_names
from pipeline_lib.training.ema import MomentumEncoder, WeightEma


def described(name):
    """A whole model around the image tower, with a classifier on it."""
    text = {
        "kind": "hf", "tokens": False, "pooling": "mean", "max_tokens": 8, "tokenizer": "none",
        "config": {"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
                   "num_attention_heads": 2, "intermediate_size": 8},
    }  # fmt: skip
    classifier = {"kind": "linear", "inputs": "image", "hidden": 4, "dropout": 0.0, "scale": 1.0}
    return {
        "image": source_of(name).description, "text": text, "embedding_dim": 4, "logit_scale": 1.0, "retrieval": True,
        "classes": ["a", "b"], "classifier": classifier,
    }  # fmt: skip


def images(name):
    size = (CACHED | SHARED)[name][1]
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def randomized(module, seed):
    """Large weights, so that a stale bias shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * (0.5 if value.ndim > 1 else 1.0))
    return module


def fresh(name, tower):
    """Features of a new tower with the same weights."""
    other = small_tower(name).eval()
    other.load_state_dict(tower.state_dict())
    with torch.no_grad():
        return other.encode(images(name))


def momentum(tower, other):
    MomentumEncoder(tower, 0.3).update(other)


def averages(tower, other):
    own = copy.deepcopy(tower.state_dict())
    ema = WeightEma(list(tower.parameters()), 0.0)
    tower.load_state_dict(other.state_dict())
    ema.update()  # without a decay, the averages are the other's weights
    tower.load_state_dict(own)
    context = ema.applied()
    context.__enter__()
    return context


def restored(tower, other):
    tower.load_state_dict(other.state_dict())


def strictly(tower, other):
    load_strictly(tower, other.state_dict(), "here")


def interpolated(tower, other):
    interpolate(unique_state(tower), unique_state(other), 0.5)


@pytest.mark.parametrize("change", [momentum, averages, restored, strictly, interpolated])
@pytest.mark.parametrize("name", CACHED)
def test_features_follow_the_weights_however_they_change(name, change):
    tower, other = randomized(small_tower(name).eval(), 0), randomized(small_tower(name).eval(), 1)
    with torch.no_grad():
        before = tower.encode(images(name))
        context = change(tower, other)
        after = tower.encode(images(name))
        assert not torch.allclose(before, after)
        assert torch.equal(after, fresh(name, tower))
        if context is not None:  # the end of `with ema.applied()` changes the weights once more
            context.__exit__(None, None, None)
            assert torch.equal(tower.encode(images(name)), before)


def test_a_copy_follows_its_own_weights():
    name = "levit_128s"
    tower = randomized(small_tower(name).eval(), 0)
    with torch.no_grad():
        tower.encode(images(name))
        copied = randomized(copy.deepcopy(tower), 1)
        assert torch.equal(copied.encode(images(name)), fresh(name, copied))
        assert torch.equal(tower.encode(images(name)), fresh(name, tower))


@pytest.mark.parametrize("name", SHARED)
def test_a_tower_with_shared_tensors_is_saved_and_loaded(name, tmp_path):
    model = ImageTextModel(described(name)).eval()
    randomized(model, 0)
    repeated = further_names(model)
    assert repeated and all(model.get_parameter(key) is model.get_parameter(value) for key, value in repeated.items())
    save_model(tmp_path, model, {})
    loaded = load_model(tmp_path).model
    assert load_file(tmp_path / "model.safetensors").keys() == model.state_dict().keys() - repeated.keys()
    with torch.no_grad():
        assert torch.equal(loaded.image.encode(images(name)), model.image.encode(images(name)))


@pytest.mark.parametrize("name", SHARED)
def test_a_file_with_all_names_of_a_shared_tensor_is_read(name):
    tower, other = small_tower(name), randomized(small_tower(name), 0)
    load_strictly(tower, other.state_dict(), "published")
    assert weights_hash(unique_state(tower)) == weights_hash(unique_state(other))


@pytest.mark.parametrize("name", SHARED)
def test_weights_are_named_by_first_names(name):
    """Whichever names a file has; of two values, that of the first name counts."""
    tower, description = small_tower(name), source_of(name).description
    further, own = further_names(tower), unique_state(tower)
    every = tower.state_dict() | {key: torch.zeros(()) for key in further}
    last_only = {key: value for key, value in tower.state_dict().items() if key not in further.values()}
    for state in (every, own, last_only):
        named = by_first_names(state, description)
        assert named.keys() == own.keys() and all(torch.equal(named[key], value) for key, value in own.items())


@pytest.mark.parametrize("name", SHARED)
def test_shared_tensors_are_interpolated_once(name):
    tower, start = randomized(small_tower(name), 0), randomized(small_tower(name), 1)
    expected = {key: (value + start.state_dict()[key]) / 2 for key, value in tower.state_dict().items()}
    interpolate(unique_state(tower), with_first_names(tower, start.state_dict()), 0.5)
    for key, value in tower.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, expected[key], atol=1e-6), key


class Views(nn.Module):
    """A module whose buffers are parts of one tensor, as safetensors refuses them."""

    def __init__(self):
        super().__init__()
        table = torch.arange(6.0)
        self.register_buffer("first", table[:2])
        self.register_buffer("second", table[2:])


def test_tensors_that_are_views_are_saved(tmp_path):
    module = Views()
    module.description = {}
    save_model(tmp_path, module, {})
    loaded = load_file(tmp_path / "model.safetensors")
    assert loaded["first"].tolist() == [0, 1] and loaded["second"].tolist() == [2, 3, 4, 5]


def test_fastvit_stays_in_the_plain_format(tmp_path):
    args = {"layers": [1, 1, 1, 1], "embed_dims": [16, 32, 64, 128]}
    description = {"architecture": "fastvit_t8", "model_args": args, "mean": [0.5] * 3, "std": [0.5] * 3}
    tower = TimmTower(description)
    pixels = torch.zeros(2, 3, 64, 64, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert tower.normalise(pixels).is_contiguous()
    assert all(value.is_contiguous() for value in tower.parameters())
    activations = tower.forward_prefix(pixels, len(tower.layer_groups()))
    with torch.no_grad():
        tower.eval()
        assert torch.equal(tower.forward_suffix(activations, len(tower.layer_groups())), tower.encode(pixels))

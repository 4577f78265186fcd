"""Towers that are built without initial values are, once loaded, those that had some: parameters, buffers, outputs."""

import pytest
import timm
import torch
from cached_towers import CACHED, SHARED, source_of
from model_settings import make_model_params
from test_timm_families import FAMILIES, SHALLOW
from torch import nn

from pipeline_lib.towers.hf_text_tower import HFTextTower
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm
from pipeline_lib.towers.uninitialised import uninitialised
from pipeline_lib.towers.weights import load_strictly, unique_state

TEXT = {"kind": "hf", "tokens": False, "pooling": "attentive", "max_tokens": 8, "tokenizer": "none"}
SMALL = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
TEXTS = {
    "bert": SMALL, "roberta": SMALL | {"max_position_embeddings": 20, "pad_token_id": 1}, "xlm-roberta": SMALL,
    "gpt2": {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16, "vocab_size": 9},
    "distilbert": {"vocab_size": 9, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8},
}  # fmt: skip


def check_same(build, run):
    """Build a tower with random weights, and load these into one that has no values."""
    torch.manual_seed(0)
    tower = build().eval()
    with uninitialised():
        other = build().eval()
    load_strictly(other, {name: value.clone() for name, value in unique_state(tower).items()}, "saved")
    for kind in ("named_parameters", "named_buffers"):
        first, second = (dict(getattr(one, kind)()) for one in (tower, other))
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.equal(value, second[name]), name
    with torch.no_grad():
        assert torch.equal(run(tower), run(other))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_a_family_of_timm(name):
    size = int(timm.get_pretrained_cfg(name).input_size[-1])
    args = {"depth": 2} if name in SHALLOW else {}
    params = make_model_params({"name": name, "pretrained": False, "size": size, "args": args})
    description = resolve_timm(params).description
    pixels = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    check_same(lambda: TimmTower(description), lambda tower: tower.encode(pixels))


@pytest.mark.parametrize("name", [*CACHED, *SHARED])
@pytest.mark.filterwarnings("ignore")
def test_towers_that_cache_or_share_tensors(name):
    size = (CACHED | SHARED)[name][1]
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    check_same(lambda: TimmTower(source_of(name).description), lambda tower: tower.encode(pixels))


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_tower_of_transformers(kind):
    description = TEXT | {"config": {"model_type": kind, **TEXTS[kind]}}
    ids, mask = torch.tensor([[3, 4, 5, 6], [4, 4, 0, 0]]), torch.tensor([[True] * 4, [True, True, False, False]])
    check_same(lambda: HFTextTower(description), lambda tower: tower.encode(ids, mask))


def test_only_what_gives_parameters_their_values_is_left_out():
    """Buffers have theirs, a layer draws nothing, and other functions of a parameter work as ever."""
    state = torch.get_rng_state()
    with uninitialised():
        norm, layer = nn.BatchNorm1d(3), nn.Linear(3, 3)
        nn.init.kaiming_normal_(tensor=layer.weight)
        total = layer.weight.detach().zero_().sum() + layer.weight.mul(0).sum()
        layer.weight.requires_grad_(False)
    assert norm.running_var.tolist() == [1, 1, 1] and norm.running_mean.tolist() == [0, 0, 0]
    assert torch.equal(torch.get_rng_state(), state) and total == 0 and not layer.weight.requires_grad
    assert torch.equal(nn.init.ones_(layer.weight), torch.ones(3, 3))


def test_rejection_sampling_ends_whatever_was_in_memory():
    """torch's truncated normal draws again what is out of bounds, also where the first draw was left out."""
    for value in (float("nan"), float("inf"), 1e30, 0.0):
        for mean, std in ((0.0, 1.0), (3.0, 0.5)):
            weight = nn.Parameter(torch.full((50, 50), value))
            with uninitialised():
                nn.init.trunc_normal_(weight, mean, std)

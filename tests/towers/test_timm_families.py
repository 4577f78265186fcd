"""One small architecture of each of timm's families, as a tower: its size, groups, saved weights, changed weights."""

import copy

import pytest
import timm
import torch
from model_settings import make_model_params

from bench.sweep import small_families
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm
from pipeline_lib.towers.weights import load_strictly, unique_state

# What cannot be a tower at its own size with its own pooling, each in one line.
REFUSED = ("mobilenetv5_300m", "deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_88m")
# Small enough for every run of the suite.
FAST = ("test_vit", "test_byobnet", "test_convnext", "test_efficientnet", "test_resnet", "test_maxvit", "test_nfnet")
FAMILIES = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in dict.fromkeys([*FAST, *small_families()])
]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_a_family_is_a_tower(name):
    size = int(timm.get_pretrained_cfg(name).input_size[-1])
    params = make_model_params({"name": name, "pretrained": False, "size": size, "args": {}})
    if name in REFUSED:
        with pytest.raises(ValueError, match=r"cannot embed images of .* px .*; set ") as error:
            resolve_timm(params)
        assert "\n" not in str(error.value)
        return
    description = resolve_timm(params).description
    torch.manual_seed(0)
    tower, other = TimmTower(description).eval(), TimmTower(description).eval()
    assert len(tower.layer_groups()) > 1
    pixels = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        assert tower.encode(pixels).shape == (1, tower.dim)
        for value in tower.parameters():  # as the averages of an EMA do, without a call of train()
            value.add_(0.02 * torch.randn_like(value))
        changed = tower.encode(pixels)
        load_strictly(other, copy.deepcopy(unique_state(tower)), "saved")
        assert torch.equal(other.encode(pixels), changed)

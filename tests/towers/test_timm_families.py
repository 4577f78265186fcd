"""One small architecture of each of timm's families, as a tower: its size, groups, saved weights, changed weights."""

import copy

import pytest
import timm
import torch
from model_settings import make_model_params

from bench.sweep import small_families
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm
from pipeline_lib.towers.weights import load_strictly, unique_state

# Families without a small architecture, with fewer blocks: of 546 to 1,024 px, a pass of all blocks takes minutes.
SHALLOW = ("samvit_base_patch16", "deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_88m")
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
    params = make_model_params(
        {"name": name, "pretrained": False, "size": size, "args": {"depth": 2} if name in SHALLOW else {}}
    )
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

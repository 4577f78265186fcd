"""Other image sizes than a tower's own: resized position embeddings, multiples of the patch size, clear errors."""

import pytest
import timm
import torch
from model_settings import make_model_params
from timm.layers import resample_abs_pos_embed

from pipeline_lib.models.open_clip_image import OpenClipImageTower
from pipeline_lib.models.scales import check_scale, patch_of
from pipeline_lib.models.timm_tower import TimmTower, resolve_timm

TINY = {"img_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}
CLIP = {
    "kind": "open_clip", "embed_dim": 8, "quick_gelu": False, "mean": [0.5] * 3, "std": [0.5] * 3,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
}  # fmt: skip


def timm_tower(**image):
    values = {"name": "vit_tiny_patch16_224", "args": TINY, "pretrained": False, **image}
    torch.manual_seed(0)
    return TimmTower(resolve_timm(make_model_params(values)).description).eval()


def pixels(size):
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))


def test_a_vit_at_its_own_size_equals_timms_bit_for_bit():
    tower = timm_tower()
    torch.manual_seed(0)
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, **TINY).eval()
    plain.to(memory_format=torch.channels_last)
    assert {f"trunk.{name}" for name in plain.state_dict()} == set(tower.state_dict())
    with torch.no_grad():
        assert torch.equal(tower.encode(pixels(64)), plain(tower.normalise(pixels(64))))


@pytest.mark.parametrize("size", [48, 96])
def test_a_vit_at_another_size_equals_one_of_that_size_with_resized_positions(size):
    tower = timm_tower()
    built = timm.create_model("vit_tiny_patch16_224", num_classes=0, **{**TINY, "img_size": size}).eval()
    state = {name.removeprefix("trunk."): value for name, value in tower.trunk.state_dict().items()}
    grid = [size // 16, size // 16]
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], grid, [4, 4], num_prefix_tokens=1)
    built.load_state_dict(state)
    with torch.no_grad():
        assert torch.allclose(tower.encode(pixels(size)), built(tower.normalise(pixels(size))), atol=1e-5)
    check_scale(tower, size)


@pytest.mark.parametrize("tower", [timm_tower(), OpenClipImageTower(CLIP)], ids=["timm", "open_clip"])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused_in_one_line(tower):
    assert patch_of(tower) == 16
    for size in (48, 64, 80):
        check_scale(tower, size)
    with pytest.raises(ValueError, match=r"plan.scales = 72: .* patches of 16 pixels; .* e.g. 64 or 80") as caught:
        check_scale(tower, 72)
    assert "\n" not in str(caught.value)


def test_a_convolutional_tower_supports_any_size(tiny_image_folder):
    tower = timm_tower(name=str(tiny_image_folder), args={})
    assert patch_of(tower) == 1
    check_scale(tower, 71)


def test_a_tower_of_fixed_positions_is_refused():
    small = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2}
    tower = timm_tower(name="beit_base_patch16_224", args=small, size=64)
    check_scale(tower, 64)
    with pytest.raises(ValueError, match=r"plan.scales = 80: the image tower does not support this size .* trained"):
        check_scale(tower, 80)

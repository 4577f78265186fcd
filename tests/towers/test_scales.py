"""Other image sizes than a tower's own: resized position embeddings, multiples of the patch size, clear errors."""

import random

import numpy as np
import pytest
import timm
import torch
from model_settings import make_model_params
from timm.layers import resample_abs_pos_embed

from pipeline_lib.towers import scales
from pipeline_lib.towers.kinds import build_image_tower
from pipeline_lib.towers.on_meta import on_meta
from pipeline_lib.towers.open_clip_image import OpenClipImageTower
from pipeline_lib.towers.probe import fails_on_one_row
from pipeline_lib.towers.scales import check_scales, patch_of
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm

TINY = {"img_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}
CLIP = {
    "kind": "open_clip", "embed_dim": 8, "quick_gelu": False, "mean": [0.5] * 3, "std": [0.5] * 3,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
}  # fmt: skip


def described(**image):
    values = {"name": "vit_tiny_patch16_224", "args": TINY, "pretrained": False, **image}
    return resolve_timm(make_model_params(values)).description


def timm_tower(**image):
    torch.manual_seed(0)
    return TimmTower(described(**image)).eval()


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
    check_scales(described(), [size])


@pytest.mark.parametrize(("build", "description"), [(TimmTower, described()), (OpenClipImageTower, CLIP)])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused_in_one_line(build, description):
    assert patch_of(build(description)) == 16
    check_scales(description, [48, 64, 80])
    with pytest.raises(ValueError, match=r"plan.scales = 72: .* patches of 16 pixels; .* e.g. 64 or 80") as caught:
        check_scales(description, [64, 72])
    assert "\n" not in str(caught.value)


def test_a_convolutional_tower_supports_any_size(tiny_image_folder):
    image = {"name": str(tiny_image_folder), "args": {}}
    assert patch_of(timm_tower(**image)) == 1
    check_scales(described(**image), [71])


def test_a_tower_of_fixed_positions_is_refused():
    small = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2}
    description = described(name="beit_base_patch16_224", args=small, size=64)
    check_scales(description, [64])
    with pytest.raises(ValueError, match=r"plan.scales = 80: the image tower does not support this size .* trained"):
        check_scales(description, [80])


def test_the_checks_of_sizes_make_no_random_draw():
    """Their results are remembered, so a draw would make the first run of a process differ from its second."""
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    check_scales({**described(), "architecture": "resnet10t", "model_args": {"drop_path_rate": 0.1}}, [40])
    assert fails_on_one_row({**described(), "model_args": {**TINY, "drop_rate": 0.1, "drop_path_rate": 0.1}}) is None
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1]) and random.getstate() == states[2]


def test_a_tower_is_built_once_for_its_sizes(monkeypatch):
    """Every run asks for them, and every fold."""
    built, description = [], described(args={**TINY, "depth": 3})
    monkeypatch.setattr(scales, "build_image_tower", lambda one: built.append(one) or build_image_tower(one))
    for _ in range(3):
        check_scales(description, [32, 64])
    with pytest.raises(ValueError, match="patches of 16 pixels"):
        check_scales(description, [40])
    assert built == [description]


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "convnext_atto", "resnet18"])
def test_a_tower_without_values_has_the_names_and_shapes_of_one_with_values(architecture):
    with on_meta():
        empty = timm.create_model(architecture, num_classes=5)
    full = timm.create_model(architecture, num_classes=5)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (empty, full)]
    assert shapes[0] == shapes[1] and all(value.is_meta for value in empty.state_dict().values())


def test_only_what_has_no_values_is_not_clamped():
    with on_meta():
        shaped, values = torch.empty(2, 3), torch.tensor([5.0, -5.0], device="cpu")
        assert shaped.clamp_(-2, 2) is shaped
        assert values.clamp_(-2, 2).tolist() == [2, -2]

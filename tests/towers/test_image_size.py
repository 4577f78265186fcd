"""The image size of a tower is settled before weights are read: any that it supports, else one line of error."""

import pytest
import timm
import torch
from model_settings import make_model_params
from safetensors.torch import save_file

from pipeline_lib.towers.probe import fails_on_one_row, image_fault
from pipeline_lib.towers.scales import check_scales
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm
from pipeline_lib.towers.weights import load_strictly

SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
SO400M = {"embed_dim": 16, "depth": 1, "num_heads": 2}
ROOT = "model.image.name = "


def resolved(**image):
    return resolve_timm(make_model_params({"pretrained": False, **image}))


def test_a_swin_gets_its_size_by_model_image_size():
    source = resolved(name="swin_tiny_patch4_window7_224", args=SWIN, size=64)
    assert source.description["model_args"] == {**SWIN, "img_size": 64}
    tower = TimmTower(source.description).eval()
    with torch.no_grad():
        assert tower.encode(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, tower.dim)


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple")
def test_weights_of_another_size_are_resized_as_timm_does(tmp_path):
    args = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 16}
    model = timm.create_model("beit_base_patch16_224", num_classes=0, img_size=32, **args)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    file = str(tmp_path / "model.safetensors")
    source = resolved(name="beit_base_patch16_224", args=args, size=64, weights=file, pretrained=True)
    tower = TimmTower(source.description).eval()
    load_strictly(tower, source.state, file)
    assert torch.equal(source.state["trunk.patch_embed.proj.weight"], model.state_dict()["patch_embed.proj.weight"])
    same = resolved(name="beit_base_patch16_224", args={**args, "img_size": 32}, size=32, weights=file, pretrained=True)
    for name, value in model.state_dict().items():
        assert torch.equal(same.state[f"trunk.{name}"], value), name


def test_a_size_that_works_changes_nothing():
    assert resolved(size=64).description["model_args"] == {}
    args = {"img_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2}
    assert resolved(name="vit_tiny_patch16_224", args=args, size=96).description["model_args"] == args


def test_the_own_size_of_a_model_is_never_refused():
    """384 is no multiple of 14; timm crops the rest."""
    source = resolved(name="vit_so400m_patch14_siglip_384", args=SO400M, size=384)
    assert "img_size" not in source.description["model_args"]
    check_scales(source.description, [384])
    with pytest.raises(ValueError, match=r"plan.scales = 380: .* patches of 14 pixels; use a multiple"):
        check_scales(source.description, [380])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"name": "dla34", "size": 232}, r"'dla34' cannot embed images of 232 px .* set model.image.size = 224 \(its"),
        ({"name": "coat_lite_tiny", "size": 224, "pooling": "mean"}, r"= mean \(.*; set model.image.pooling = null"),
        ({"name": "mobilenetv5_300m_enc", "size": 768}, r"\(its output .* shape .*; set model.image.pooling = mean"),
        ({"name": "efficientvim_m1", "size": 224, "pooling": "mean"}, r"set model.image.pooling = null, or another"),
    ],
)
def test_what_a_tower_cannot_do_is_one_line_before_training(image, message):
    with pytest.raises(ValueError, match=message) as error:
        resolved(**image)
    assert str(error.value).startswith(ROOT) and "\n" not in str(error.value)


def test_maps_with_channels_last_are_pooled_over_their_cells():
    source = resolved(name="hieradet_small", args={"embed_dim": 16, "num_heads": 1, "stages": [1, 1, 1, 1]}, size=128,
                      pooling="mean")  # fmt: skip
    tower = TimmTower(source.description).eval()
    with torch.no_grad():
        cells = tower.trunk(torch.ones(1, 3, 128, 128))
        assert cells.shape[3] == tower.dim != cells.shape[1]
        assert torch.allclose(tower(torch.ones(1, 3, 128, 128)), cells.mean((1, 2)), atol=1e-5)


def test_weights_of_five_dimensions_keep_their_format():
    tower = TimmTower(resolved(name="lambda_resnet26t", size=256).description)
    assert {value.ndim for value in tower.parameters()} >= {4, 5}


@pytest.mark.parametrize("name", ["poolformer_s12", "pit_ti_224", "csatv2"])
def test_an_architecture_without_groups_has_its_blocks_as_groups(name):
    with torch.device("meta"):
        tower = TimmTower({"architecture": name, "model_args": {}, "mean": [0.5] * 3, "std": [0.5] * 3})
    groups = tower.layer_groups()
    assert len(groups) > 8 and max(len(group.parameters) for group in groups) < len(list(tower.parameters())) / 4


def test_one_row_fails_only_with_a_batch_norm_after_the_pooling():
    description = {"kind": "timm", "mean": [0.5] * 3, "std": [0.5] * 3, "model_args": {}}
    assert fails_on_one_row({**description, "architecture": "convnext_atto", "size": 32}) is None
    reason = fails_on_one_row({**description, "architecture": "resnet10t", "size": 32})
    assert reason is not None and "more than 1 value per channel" in reason


def test_the_probe_says_why_an_architecture_cannot_be_built():
    fault = image_fault({"kind": "timm", "architecture": "convnext_atto", "model_args": {"depth": 3},
                         "mean": [0.5] * 3, "std": [0.5] * 3, "size": 32})  # fmt: skip
    assert "unexpected keyword argument 'depth'" in fault

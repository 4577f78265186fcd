"""Prefix and suffix of a forward pass, split before any layer group, equal the full pass for every kind of tower."""

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import save_file
from tiny_clip import CONFIG, TIMM_CONFIG, CustomTextCLIP, filled, make_clip, resolved, written
from torch import nn

from pipeline_lib.towers.hf_text_tower import HFTextTower
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm

SMALL = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}
VIT = {"depth": 3, "embed_dim": 24, "num_heads": 2, "img_size": 32, "patch_size": 8}
# Architecture and its arguments; norms, class token, position and pooling differ.
TRUNKS = [
    ("convnext_atto", SMALL),
    ("convnextv2_atto", SMALL),
    ("vit_tiny_patch16_224", VIT),
    ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg", "class_token": False, "pre_norm": True}),
    ("vit_tiny_patch16_224", {**VIT, "reg_tokens": 2, "no_embed_class": True, "dynamic_img_size": True}),
    ("resnet10t", {}),
    ("mobilenetv2_050", {}),
    ("mobilenetv3_small_050", {}),
    ("efficientnet_lite0", {}),
]
TEXTS = {
    "bert": {},
    "roberta": {"max_position_embeddings": 40, "pad_token_id": 1},
    "xlm-roberta": {"max_position_embeddings": 40, "pad_token_id": 1},
    "ernie": {},
    "electra": {"embedding_size": 12},
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32},
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "bos_token_id": None, "eos_token_id": None},
}


def randomised(tower):
    """Random values everywhere: zeros and ones would hide a missing block."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in tower.parameters():
            value.add_(0.05 * torch.randn_like(value))
        for name, value in tower.named_buffers():
            if "running" in name:
                value.add_(0.1 * torch.rand_like(value))
    return tower.eval()


def timm_tower(architecture, arguments, **image):
    params = make_model_params(
        image={"name": architecture, "pretrained": False, "args": arguments, "size": 32, **image}
    )
    return randomised(TimmTower(resolve_timm(params).description))


def hf_tower(kind, pooling="mean", projection=None):
    config = {"model_type": kind, "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 3,
              "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}  # fmt: skip
    description = {"config": config | TEXTS[kind], "pooling": pooling, "projection": projection}
    return randomised(HFTextTower(description))


def clip_towers(tmp_path, config, kind=None, **changes):
    save_file(make_clip(config, **({"kind": kind} if kind else {})).state_dict(), tmp_path / "weights.safetensors")
    return filled(resolved(written(tmp_path, config), tmp_path / "weights.safetensors", **changes))


def pixels(size=32):
    return torch.randint(0, 255, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def tokens():
    mask = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    ids = torch.randint(2, 30, mask.shape, generator=torch.Generator().manual_seed(2))
    return ids.masked_fill(~mask, 1), mask


@torch.no_grad()
def check_images(tower, size=32, can_split=True):
    full, count = tower.encode(pixels(size)), len(tower.layer_groups())
    for num_suffix in range(count + 1):
        activations = tower.forward_prefix(pixels(size), num_suffix)
        before = activations.clone()
        assert torch.equal(tower.forward_suffix(activations, num_suffix), full), num_suffix
        assert torch.equal(activations, before), "the suffix must not change its input"
        stored = torch.from_numpy(activations.numpy().copy())
        assert torch.allclose(tower.forward_suffix(stored, num_suffix), full, atol=1e-5), num_suffix
    check_blocks(tower, can_split)


@torch.no_grad()
def check_texts(tower):
    ids, mask = tokens()
    full, count = tower.encode(ids, mask), len(tower.layer_groups())
    for num_suffix in range(count + 1):
        activations = tower.forward_prefix(ids, mask, num_suffix)
        assert torch.equal(tower.forward_suffix(activations, mask, num_suffix), full), num_suffix
        if 0 < num_suffix < count:
            zeroed = activations.masked_fill(~mask[:, :, None], 0)  # as in a store
            assert torch.allclose(tower.forward_suffix(zeroed, mask, num_suffix), full, atol=1e-6), num_suffix
    check_blocks(tower, True)


def check_blocks(tower, can_split):
    """Every parameter and leaf module is in exactly one block; more suffix groups never give a later boundary."""
    blocks, groups = tower.forward_blocks(), tower.layer_groups()
    leaves = [name for name, module in tower.named_modules() if not list(module.children())]
    for name in [*leaves, *(name for name, _ in tower.named_parameters())]:
        assert sum(any(f"{name}.".startswith(f"{path}.") for path in block.paths) for block in blocks) == 1, name
    boundaries = [tower.boundary(num_suffix) for num_suffix in range(len(groups) + 1)]
    assert boundaries == sorted(boundaries, reverse=True) and boundaries[0] == len(blocks)
    if can_split:
        assert len(set(boundaries)) >= len(groups) and all(boundaries[1:-1])


@pytest.mark.parametrize(("architecture", "arguments"), TRUNKS)
def test_timm_towers(architecture, arguments):
    size = 64 if architecture in ("mobilenetv2_050", "efficientnet_lite0") else 32
    check_images(timm_tower(architecture, arguments), size)


@pytest.mark.parametrize("image", [{"pooling": "gem"}, {"feature": "new_fc"}, {"pooling": "attentive"}])
def test_timm_towers_with_new_parts(image):
    check_images(timm_tower("convnextv2_atto", SMALL, **image))


def test_an_unknown_architecture_is_one_block():
    tower = timm_tower("regnetx_002", {})
    check_images(tower, can_split=False)
    count = len(tower.layer_groups())
    assert [tower.boundary(num_suffix) for num_suffix in range(count + 1)] == [2] + [0] * count


@pytest.mark.parametrize("kind", TEXTS)
def test_hugging_face_towers(kind):
    check_texts(hf_tower(kind))


@pytest.mark.parametrize("pooling", ["cls", "max", "gem", "attentive", "last"])
def test_poolings_and_projections_of_texts(pooling):
    check_texts(hf_tower("bert", pooling, ["mlp", 12, 20]))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_open_clip_towers(tmp_path, pooling):
    image, text = clip_towers(tmp_path, CONFIG, text={"pooling": pooling})
    check_images(image)
    check_images(image, 48)  # positions are resized
    check_texts(text)


def test_open_clip_towers_of_other_kinds(tmp_path):
    image, _ = clip_towers(tmp_path, TIMM_CONFIG, CustomTextCLIP, image={"size": 64})
    check_images(image, 64)
    resnet = {**CONFIG, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}
    image, _ = clip_towers(tmp_path, resnet)
    check_images(image)


def dropouts(tower):
    """Path -> training mode, of every module that draws random numbers in training."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
    return {n: m.training for n, m in tower.named_modules() if isinstance(m, kinds) or "DropPath" in type(m).__name__}


def unfreeze_last(tower, count):
    tower.requires_grad_(False).train()
    parameters = dict(tower.named_parameters())
    for group in tower.layer_groups()[-count:] if count else []:
        for name in group.parameters:
            parameters[name].requires_grad_(True)
    for module in tower.frozen_prefix():
        module.eval()


@pytest.mark.parametrize("kind", ["bert", "gpt2", "distilbert"])
def test_frozen_layers_before_the_first_trainable_one_have_no_dropout(kind):
    tower = hf_tower(kind)
    unfreeze_last(tower, 2)
    drawing = {name for name, on in dropouts(tower).items() if on}
    numbers = {int(part) for name in drawing for part in name.split(".") if part.isdigit()}
    assert numbers == {1, 2} and not [name for name in drawing if "embeddings" in name or name == "trunk.drop"]
    unfreeze_last(tower, 4)
    assert all(dropouts(tower).values())


def test_a_frozen_prefix_in_training_mode_equals_the_stored_one():
    """With two trainable groups, the prefix is the same in training and evaluation mode, despite stochastic depth."""
    arguments = {**VIT, "drop_path_rate": 0.5, "pos_drop_rate": 0.5, "proj_drop_rate": 0.5}
    towers = [("vit_tiny_patch16_224", arguments), ("convnext_atto", {**SMALL, "drop_path_rate": 0.5})]
    for tower in (timm_tower(*one) for one in towers):
        expected = tower.forward_prefix(pixels(), 2).detach()
        unfreeze_last(tower, 2)
        assert torch.equal(tower.forward_prefix(pixels(), 2), expected)
        assert not torch.equal(tower.encode(pixels()), tower.encode(pixels()))


def test_frozen_blocks_of_an_unknown_architecture_are_in_evaluation_mode():
    tower = timm_tower("regnetx_002", {"drop_path_rate": 0.5})
    unfreeze_last(tower, 1)
    assert len(set(dropouts(tower).values())) == 2

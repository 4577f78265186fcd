"""Checkpointed towers have the gradients, random numbers and statistics of plain ones, and run their blocks twice."""

import copy

import pytest
import torch
from adapted_towers import bert, pictures, shake, texts, vit
from tiny_clip import CONFIG, TIMM_CONFIG, resolved, written
from torch import nn

from pipeline_lib.models.adapters import attach
from pipeline_lib.optim.freezing import open_groups, set_epoch, set_frozen_eval
from pipeline_lib.towers.hf_text_tower import HFTextTower
from pipeline_lib.towers.open_clip_image import OpenClipImageTower
from pipeline_lib.towers.open_clip_text import OpenClipTextTower
from pipeline_lib.towers.timm_tower import TimmTower
from pipeline_lib.training.activation_checkpointing import checkpoint_tower

RESNET = {"architecture": "resnet10t", "model_args": {}, "mean": [0.5] * 3, "std": [0.5] * 3}
MEMORY = {"register_memory": {"slots_private": 2, "slots_shared": 0}}


def gpt() -> HFTextTower:
    from transformers import GPT2Config

    torch.manual_seed(1)
    config = GPT2Config(vocab_size=20, n_embd=24, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    return HFTextTower({"config": config.to_dict(), "pooling": "mean"})


def clip(folder, side, config=CONFIG):
    torch.manual_seed(1)
    description = resolved(written(folder, config), None)[side].description
    return (OpenClipImageTower if side == "image" else OpenClipTextTower)(description)


TOWERS = {
    "timm vit": ("image", lambda _: vit(proj_drop_rate=0.2)),
    "timm resnet": ("image", lambda _: TimmTower(RESNET)),
    "open_clip vit": ("image", lambda folder: clip(folder, "image")),
    "open_clip timm": ("image", lambda folder: clip(folder, "image", TIMM_CONFIG)),
    "bert": ("text", lambda _: bert()),
    "gpt2": ("text", lambda _: gpt()),
    "open_clip text": ("text", lambda folder: clip(folder, "text")),
}
WITH_MEMORY = ("timm vit", "open_clip vit", "bert", "gpt2", "open_clip text")


def build(name, folder, memory):
    side, make = TOWERS[name]
    tower = make(folder)
    if memory:
        attach({side: tower}, MEMORY)
    shake(tower)
    return side, tower.train()


def inputs_of(name, side):
    if side == "text":
        return texts()
    sides = {"timm resnet": (32, 48), "open_clip timm": (64, 64), "open_clip vit": (32, 32)}.get(name, (32, 48))
    return (pictures(2, *sides),)


def backward(tower, inputs, steps=2):
    """Gradients and buffers after some passes, how often the norms ran, and a random number drawn after them."""
    torch.manual_seed(7)
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm | nn.modules.batchnorm._BatchNorm)]
    calls = []
    hooks = [norm.register_forward_hook(lambda module, *_: calls.append(module)) for norm in norms]
    for _ in range(steps):
        tower(*inputs).square().sum().backward()
    for hook in hooks:
        hook.remove()
    gradients = {key: value.grad for key, value in tower.named_parameters() if value.grad is not None}
    return gradients, dict(tower.named_buffers()), len(calls), torch.rand(1)


def compare(name, folder, memory, depth):
    side, plain = build(name, folder, memory)
    checkpointed = copy.deepcopy(plain)
    checkpoint_tower(side, checkpointed)
    for tower in (plain, checkpointed):
        groups = tower.layer_groups()
        opened = [0 if is_open else None for is_open in open_groups(len(groups), depth)]
        set_epoch(tower, groups, opened, 0)
        set_frozen_eval(tower)
    one, other = (backward(tower, inputs_of(name, side)) for tower in (plain, checkpointed))
    assert set(one[0]) == set(other[0]) and one[0]
    for part in (0, 1):
        for key, value in one[part].items():
            assert torch.allclose(value, other[part][key], rtol=1e-5, atol=1e-6), key
    assert torch.equal(one[3], other[3])  # the same count of random numbers is drawn
    return one[2], other[2]


@pytest.mark.parametrize("name", TOWERS)
def test_gradients_equal_the_plain_ones_and_blocks_run_twice(name, tmp_path):
    plain, checkpointed = compare(name, tmp_path, False, "all")
    assert checkpointed > 1.3 * plain


@pytest.mark.parametrize("name", TOWERS)
def test_the_gradients_are_equal_with_frozen_layers_too(name, tmp_path):
    compare(name, tmp_path, False, 3)


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_a_register_memory_has_the_mask_in_the_second_run_too(name, tmp_path):
    compare(name, tmp_path, True, "all")


def test_running_statistics_are_updated_once_a_step(tmp_path):
    _, tower = build("timm resnet", tmp_path, False)
    checkpoint_tower("image", tower)
    backward(tower, inputs_of("timm resnet", "image"), steps=3)
    norms = [module for module in tower.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(int(norm.num_batches_tracked) == 3 and norm.momentum == 0.1 for norm in norms)


def test_prediction_runs_every_block_once(tmp_path):
    for name in TOWERS:
        side, tower = build(name, tmp_path, False)
        checkpoint_tower(side, tower)
        tower.eval()
        inputs, before = inputs_of(name, side), [value.clone() for value in tower.state_dict().values()]
        with torch.inference_mode():
            assert torch.equal(tower(*inputs), tower(*inputs)), name
        assert all(torch.equal(*pair) for pair in zip(before, tower.state_dict().values(), strict=True)), name


def test_checkpointing_does_not_change_the_saved_model():
    one, other = bert(), bert()
    checkpoint_tower("text", other)
    assert list(one.state_dict()) == list(other.state_dict())


OLD_RESNET = {**CONFIG, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}


def test_an_architecture_without_checkpointing_is_refused(tmp_path):
    def refuse(enable):
        assert not enable, "gradient checkpointing not supported"  # as in timm's architectures that do not support it

    unsupported = TimmTower(RESNET)
    unsupported.trunk.set_grad_checkpointing = refuse
    for tower in (unsupported, clip(tmp_path, "image", OLD_RESNET)):
        with pytest.raises(
            ValueError,
            match=r"^train.grad_checkpointing.image = true: the library .* = false$",
        ):
            checkpoint_tower("image", tower)

import pytest
import torch
from adapted_towers import bert, pictures, shake, vit
from torch.nn import functional

from pipeline_lib.models.adapters import attach
from pipeline_lib.models.positional_conv import PositionalConv
from pipeline_lib.towers.timm_tower import TimmTower


def settings(after_block=1, stride=2):
    return {"positional_conv": {"after_block": after_block, "stride": stride}}


def convolve_slowly(conv, tokens, grid, prefix):
    """A loop over output cells, channels, kernel cells and channels of the group."""
    rows, columns = grid
    stride, weight = conv.conv.stride[0], conv.conv.weight
    out = []
    for number in range(len(tokens)):
        feature_map = tokens[number, prefix:].reshape(rows, columns, -1)
        cells = []
        for top in range(0, rows, stride):
            for left in range(0, columns, stride):
                cell = conv.conv.bias.clone()
                for channel in range(weight.shape[0]):
                    group = channel // 8 * 8
                    for down in range(3):
                        for across in range(3):
                            row, column = top + down - 1, left + across - 1
                            if 0 <= row < rows and 0 <= column < columns:
                                cell[channel] += (
                                    weight[channel, :, down, across] @ feature_map[row, column, group : group + 8]
                                )
                cells.append(cell)
        patches = torch.stack(cells)
        gated = patches * torch.sigmoid(patches.sum(1, keepdim=True) / patches.shape[1])
        inner = conv.mlp[0](gated)
        inner = conv.mlp[2](inner * torch.sigmoid(1.702 * inner))
        out.append(conv.norm(torch.cat([tokens[number, :prefix], patches + inner])))
    return torch.stack(out)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("grid", "prefix"), [((3, 5), 1), ((4, 2), 0), ((1, 3), 3)])
@torch.no_grad()
def test_it_equals_a_slow_loop_on_grids_that_are_not_square(stride, grid, prefix):
    torch.manual_seed(0)
    conv = PositionalConv(16, stride, prefix)
    shake(conv)
    tokens = torch.randn(2, prefix + grid[0] * grid[1], 16)
    output = conv(tokens, grid)
    assert output.shape[1] == prefix + -(-grid[0] // stride) * -(-grid[1] // stride)
    assert torch.allclose(output, convolve_slowly(conv, tokens, grid, prefix), atol=1e-4)


@torch.no_grad()
def test_initially_it_returns_its_patches_after_a_norm():
    tokens = torch.randn(2, 1 + 4 * 6, 16)
    patches = tokens[:, 1:].reshape(2, 4, 6, 16)
    for stride in (1, 2):
        expected = torch.cat([tokens[:, :1], patches[:, ::stride, ::stride].flatten(1, 2)], dim=1)
        assert torch.allclose(
            PositionalConv(16, stride, 1)(tokens, (4, 6)), functional.layer_norm(expected, (16,)), atol=1e-5
        )


def test_gradients_equal_finite_differences_and_reach_every_parameter():
    torch.manual_seed(1)
    conv = PositionalConv(8, 2, 1).double()
    shake(conv)
    tokens = torch.randn(1, 1 + 6, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda tokens: conv(tokens, (2, 3)), (tokens,))
    conv(tokens, (2, 3)).square().mul(torch.rand(1, 3, 8)).sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in conv.parameters())


@torch.no_grad()
def test_in_a_vit_it_convolves_the_blocks_output_and_quarters_the_tokens():
    plain, adapted = vit(), vit()
    attach({"image": adapted}, settings(after_block=2))
    conv = adapted.trunk.blocks[1].positional_conv
    shake(conv)
    trunk = plain.trunk
    tokens = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(pictures())))
    tokens = trunk.blocks[1](trunk.blocks[0](tokens))
    assert tokens.shape == (2, 1 + 4 * 6, 16)
    tokens = conv(tokens, (4, 6))
    assert tokens.shape == (2, 1 + 2 * 3, 16)
    expected = trunk.forward_head(trunk.norm(trunk.blocks[2](tokens)))
    assert torch.allclose(adapted(pictures()), expected, atol=1e-5)


@torch.no_grad()
def test_the_grid_follows_the_image_size():
    tower = vit(dynamic_img_size=True)
    attach({"image": tower}, settings())
    calls = []
    tower.trunk.blocks[1].register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[1]))
    for height, width in ((32, 48), (48, 32), (40, 72)):
        tower(pictures(1, height, width))
    assert calls == [1 + 2 * 3, 1 + 3 * 2, 1 + 3 * 5]


@torch.no_grad()
def test_open_clips_own_vit_has_a_grid_too():
    from open_clip.model import _build_vision_tower

    torch.manual_seed(0)
    config = {"image_size": (32, 48), "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
    tower = torch.nn.Module()
    tower.visual = _build_vision_tower(4, config, False).eval()
    attach({"image": tower}, settings())
    calls = []
    tower.visual.transformer.resblocks[1].register_forward_pre_hook(
        lambda module, args, kwargs: calls.append({**kwargs, **dict(enumerate(args))}), with_kwargs=True
    )
    assert tower.visual(pictures()).shape == (2, 4)
    assert next(iter(value for value in calls[0].values() if value is not None)).shape == (2, 1 + 2 * 3, 16)


def test_it_is_in_the_layer_group_of_its_block():
    tower = vit()
    attach({"image": tower}, settings(after_block=2))
    groups = [group.parameters for group in tower.layer_groups() if "positional_conv" in str(group.parameters)]
    assert len(groups) == 1
    assert all(name.startswith("trunk.blocks.1.") for name in groups[0])


def test_unsupported_towers_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"after_block = 4, but the image tower has 3 blocks"):
        attach({"image": vit()}, settings(after_block=4))
    flat = TimmTower({"architecture": "resnet10t", "model_args": {}, "mean": [0.5] * 3, "std": [0.5] * 3})
    for tower, name in ((flat, "ResNet"), (bert(), "BertModel")):
        with pytest.raises(ValueError, match=rf"image tower \({name}\) has no grid of patch tokens"):
            attach({"image": tower}, settings())
    with pytest.raises(ValueError, match=r"convolves 8 channels a group, but this tower's tokens have 12"):
        attach({"image": vit(embed_dim=12)}, settings())

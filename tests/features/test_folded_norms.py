"""Folded batch norms: equal to the tower before, and nothing folded where a convolution's output has a second use."""

import pytest
import timm
import torch
from torch import nn

from pipeline_lib.features.folded_norms import fold_batch_norms


def with_statistics(tower: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for norm in tower.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values, low, high in (
                (norm.running_mean, -0.2, 0.2), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 1.5), (norm.bias, -1, 1),
            ):  # fmt: skip
                values.data.uniform_(low, high, generator=generator)
    return tower.eval()


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "norms"), [("mobilenetv2_035", 52), ("resnet10t", 14), ("convnext_atto", 0)])
def test_a_folded_tower_gives_the_same(name, norms, photos):
    tower = with_statistics(timm.create_model(name, num_classes=0))
    with torch.inference_mode():
        before = tower(photos)
        assert fold_batch_norms(tower, lambda: tower(photos[:2])) == norms
        torch.testing.assert_close(tower(photos), before, rtol=1e-4, atol=1e-5)


def test_the_weights_by_hand():
    """(3 x + 1 - 4) / sqrt(0.25) * 0.5 + 7 = 3 x + 4."""
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0)
    values = {
        conv.weight: 3,
        conv.bias: 1,
        norm.running_mean: 4,
        norm.running_var: 0.25,
        norm.weight: 0.5,
        norm.bias: 7,
    }
    for tensor, value in values.items():
        tensor.data.fill_(value)
    tower = nn.Sequential(conv, norm).eval()
    assert fold_batch_norms(tower, lambda: tower(torch.ones(2, 1, 1, 1))) == 1
    assert (conv.weight.item(), conv.bias.item()) == (3, 4)
    assert tower(torch.full((1, 1, 1, 1), 2.0)).item() == 10


class _SecondUse(nn.Module):
    """A skip connection around the norm, which only the outputs show."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        between = self.conv(x)
        return self.norm(between) + between


class _Twice(nn.Module):
    """One convolution before two norms, as for two domains."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norms[1](self.conv(self.norms[0](self.conv(x))))


@pytest.mark.parametrize("kind", [_SecondUse, _Twice])
def test_where_folding_would_change_the_output_nothing_is_folded(kind, photos):
    tower = with_statistics(kind())
    with torch.inference_mode():
        before = tower(photos)
        assert fold_batch_norms(tower, lambda: tower(photos)) == 0
        assert torch.equal(tower(photos), before)


def test_a_tower_in_training_is_refused(photos):
    tower = timm.create_model("resnet10t", num_classes=0)
    with pytest.raises(ValueError, match="training mode"):
        fold_batch_norms(tower, lambda: tower(photos))

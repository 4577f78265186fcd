"""Positional convolution: after a ViT block, patches lie on their grid and are convolved, by stride 2 to a quarter.

FIELD.md section 7. The grid need not be square, and comes from the picture, so a tower that takes any size still does.
The kernels begin as identity and the gate's norm at zero gain: a pretrained tower then begins with its own patches,
one of each 2 x 2 at stride 2, under a LayerNorm.
"""

from typing import Any

import torch
from torch import Tensor, nn

CHANNELS_PER_GROUP = 8


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, values: Tensor) -> Tensor:
        """Return activations of the same shape."""
        return values * torch.sigmoid(1.702 * values)


class PositionalConv(nn.Module):
    """LayerNorm(prefix tokens, then p + MLP(p * sigmoid(mean of p's channels))), p = Conv2d(patches on their grid)."""

    def __init__(self, dim: int, stride: int, num_prefix: int) -> None:
        super().__init__()
        if dim % CHANNELS_PER_GROUP:
            raise ValueError(
                f"model.positional_conv convolves {CHANNELS_PER_GROUP} channels a group, but this tower's tokens have "
                f"{dim}; set model.positional_conv.after_block = 0 or take another tower"
            )
        groups = dim // CHANNELS_PER_GROUP
        self.conv = nn.Conv2d(dim, dim, 3, stride, padding=1, groups=groups)
        nn.init.dirac_(self.conv.weight, groups)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.mlp = nn.Sequential(nn.Linear(dim, dim), QuickGELU(), nn.LayerNorm(dim))
        nn.init.zeros_(self.mlp[2].weight)  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(dim)
        self.num_prefix = num_prefix
        self._grid: tuple[int, int] | None = None

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return (batch, prefix + rows' * columns', dim) of tokens (batch, prefix + rows * columns, dim)."""
        prefix, patches = tokens[:, : self.num_prefix], tokens[:, self.num_prefix :]
        assert patches.shape[1] == grid[0] * grid[1], (patches.shape, grid)
        laid = patches.transpose(1, 2).reshape(len(tokens), -1, *grid)
        convolved = self.conv(laid).flatten(2).transpose(1, 2)
        gate = convolved.mean(dim=-1, keepdim=True).sigmoid()
        found: Tensor = self.norm(torch.cat([prefix, convolved + self.mlp(convolved * gate)], dim=1))
        return found

    def see_grid(self, _patches: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> None:
        """Remember the grid of patches that a tower's first convolution makes; a forward hook of it."""
        self._grid = (output.shape[-2], output.shape[-1])

    def after_block(self, _block: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return a block's output convolved; a forward hook of the block."""
        assert self._grid is not None, "a tower cuts its patches before its blocks run"
        return self.forward(output, self._grid)

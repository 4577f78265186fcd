"""Positional convolution: after a ViT block, the patch tokens are convolved on their grid; stride 2 keeps a quarter.

See FIELD.md section 7. The grid follows the image and need not be square, so the tower still takes any image size. The
kernels are initialised to the identity and the gain of the gate's norm to zero. So a pretrained tower starts with its
own patches, one of each 2 x 2 for stride 2, after a LayerNorm.
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
                f"{dim}; set model.positional_conv.after_block = 0 or use another tower"
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
        feature_map = patches.transpose(1, 2).reshape(len(tokens), -1, *grid)
        convolved = self.conv(feature_map).flatten(2).transpose(1, 2)
        gate = convolved.mean(dim=-1, keepdim=True).sigmoid()
        output: Tensor = self.norm(torch.cat([prefix, convolved + self.mlp(convolved * gate)], dim=1))
        return output

    def set_grid(self, _patches: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> None:
        """Store the size of the patch grid; a forward hook of the tower's patch embedding."""
        self._grid = (output.shape[-2], output.shape[-1])

    def after_block(self, _block: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return the block's output after the convolution; a forward hook of the block."""
        assert self._grid is not None, "the patch embedding runs before the blocks"
        return self.forward(output, self._grid)

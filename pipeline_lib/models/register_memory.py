"""Register memory: learned slots that the tokens of a transformer layer attend to, private to the layer or shared.

FIELD.md section 7 names three faults of the original form. Here they are avoided: it works with and without a mask; a
learned temperature sharpens the softmax over cosines, which would be nearly uniform; the residual stream is not cut.
The last linear map is initialised to zero, so that a pretrained tower starts unchanged.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.scale_bounds import MAX_LOG_SCALE, ScaleBounds

WIDTH = 64  # of keys and values, as in one attention head
SHARED_WIDTH = 256  # of a shared slot, independent of the towers' widths
INITIAL_SCALE = 1 / 0.07  # of the cosines, as in CLIP; at most 100


def shared_slots(count: int) -> nn.Parameter:
    """Return `count` slots (count, SHARED_WIDTH) for all layers of both towers."""
    return nn.Parameter(torch.randn(count, SHARED_WIDTH))


class RegisterMemory(nn.Module):
    """Adds attention over the slots to each token: tokens + FFN(LayerNorm(softmax(scale * cosines) memory)).

    `shared` is not among this module's parameters: it is one parameter of the model for all layers.
    """

    scale_bounds: ClassVar[ScaleBounds] = {"log_scale": (-math.inf, MAX_LOG_SCALE)}

    def __init__(self, dim: int, private: int, shared: nn.Parameter | None) -> None:
        super().__init__()
        assert private or shared is not None, "a memory needs slots"
        self.query = nn.Linear(dim, WIDTH)
        if private:
            self.private = nn.Parameter(torch.randn(private, dim))
            self.down_private = nn.Linear(dim, WIDTH)
        if shared is not None:
            self.down_shared = nn.Linear(SHARED_WIDTH, WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH)
        self.out = nn.Linear(4 * WIDTH, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        # In a tuple it is no parameter of this module, but is copied with the module.
        self._shared = () if shared is None else (shared,)
        self._has_private = private > 0
        self._mask: Tensor | None = None
        # Keep the mask after the tower's forward pass: checkpointed blocks run again in the backward pass.
        self.keeps_mask = False

    def memory(self) -> Tensor:
        """Return all slots as keys and values (private + shared, WIDTH), each of unit length."""
        parts = [self.down_private(self.private)] if self._has_private else []
        for slots in self._shared:
            # A frozen layer sends the slots no gradient, so that backpropagation need not go through frozen layers.
            parts.append(self.down_shared(slots if self.log_scale.requires_grad else slots.detach()))
        return functional.normalize(torch.cat(parts), dim=-1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens (batch, length, dim) plus their readings; unchanged where `mask` (batch, length) is False."""
        memory = self.memory()
        query = functional.normalize(self.query(tokens), dim=-1)
        scale = self.log_scale.exp()
        weights = (scale * (query @ memory.T)).softmax(dim=-1)
        reading = self.out(functional.gelu(self.widen(self.norm(weights @ memory))))
        if mask is not None:
            reading = reading * mask.unsqueeze(-1).to(reading.dtype)
        output: Tensor = tokens + reading.to(tokens.dtype)
        return output

    def set_mask(self, _tower: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Store the mask of a text tower's call; a forward pre-hook of the tower."""
        self._mask = arguments[1] if len(arguments) > 1 else None

    def clear_mask(self, _tower: nn.Module, _arguments: tuple[Any, ...], _output: Any) -> None:
        """Clear the mask after a text tower's call, for blocks that run without the tower; a forward hook."""
        if not self.keeps_mask:
            self._mask = None

    def after_block(self, _block: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return the block's output plus the readings; a forward hook of the block."""
        mask = self._mask if self._mask is not None and self._mask.shape == output.shape[:2] else None
        return self.forward(output, mask)

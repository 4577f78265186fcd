"""Register memory: learned slots that every token of a transformer layer may read; private ones, and ones shared.

FIELD.md section 7 names three faults of the form it was first tried in; this one differs in each: it reads with and
without a mask, a learned temperature sharpens the softmax over cosines, which is nearly uniform without, and nothing
cuts the residual stream. The last linear map begins at zero, so that a pretrained tower begins as it was.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 64  # of keys and readings, that of one attention head
SHARED_WIDTH = 256  # of a shared slot, which towers of any width read
FIRST_SCALE = 1 / 0.07  # of the cosines, CLIP's; it may grow to 100
MAX_LOG_SCALE = math.log(100)


def shared_slots(count: int) -> nn.Parameter:
    """Return `count` slots (count, SHARED_WIDTH) that all layers of both towers read."""
    return nn.Parameter(torch.randn(count, SHARED_WIDTH))


class RegisterMemory(nn.Module):
    """Adds to each token what it reads from the slots: tokens + FFN(LayerNorm(softmax(scale * cosines) memory)).

    `shared` lies outside this module's parameters: the model trains it once for all layers.
    """

    def __init__(self, dim: int, private: int, shared: nn.Parameter | None) -> None:
        super().__init__()
        assert private or shared is not None, "a memory without slots"
        self.query = nn.Linear(dim, WIDTH)
        if private:
            self.private = nn.Parameter(torch.randn(private, dim))
            self.down_private = nn.Linear(dim, WIDTH)
        if shared is not None:
            self.down_shared = nn.Linear(SHARED_WIDTH, WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
        self.norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH)
        self.out = nn.Linear(4 * WIDTH, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        # A tuple hides it from `parameters`, and is copied with the module.
        self._shared = () if shared is None else (shared,)
        self._has_private = private > 0
        self._mask: Tensor | None = None
        # Of a call that is over: checkpointed blocks run again in its backward pass.
        self.keeps_mask = False

    def memory(self) -> Tensor:
        """Return all slots as keys and values (private + shared, WIDTH), each of unit length."""
        parts = [self.down_private(self.private)] if self._has_private else []
        for slots in self._shared:
            # Through a frozen layer's memory no gradient goes to the slots: the trunk below need not be run backwards.
            parts.append(self.down_shared(slots if self.log_scale.requires_grad else slots.detach()))
        return functional.normalize(torch.cat(parts), dim=-1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens (batch, length, dim) with their readings; where `mask` (batch, length) is False, unchanged."""
        memory = self.memory()
        query = functional.normalize(self.query(tokens), dim=-1)
        scale = self.log_scale.clamp(max=MAX_LOG_SCALE).exp()
        weights = (scale * (query @ memory.T)).softmax(dim=-1)
        reading = self.out(functional.gelu(self.widen(self.norm(weights @ memory))))
        if mask is not None:
            reading = reading * mask.unsqueeze(-1).to(reading.dtype)
        found: Tensor = tokens + reading.to(tokens.dtype)
        return found

    def see_mask(self, _tower: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Remember the mask that a text tower is called with; a pre-forward hook of it."""
        self._mask = arguments[1] if len(arguments) > 1 else None

    def forget_mask(self, _tower: nn.Module, _arguments: tuple[Any, ...], _output: Any) -> None:
        """Forget the mask of a call that is over, lest blocks run by themselves read with it; a forward hook."""
        if not self.keeps_mask:
            self._mask = None

    def after_block(self, _block: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return a block's output with readings; a forward hook of the block."""
        mask = self._mask if self._mask is not None and self._mask.shape == output.shape[:2] else None
        return self.forward(output, mask)

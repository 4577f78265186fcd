"""Gated fusion: a sentence changes the image tokens, through a gate for each channel of each token.

With t the mean of the text tokens, a = image(V), b = text(t) for every token, g = sigmoid(gate [a; b]):
V' = V + alpha * out(g * b). This is the module of log E (FIELD.md section 6); at width 768 throughout it has 2,952,193
parameters. alpha is one learned number; 0 leaves the tokens as they are.
"""

import torch
from torch import Tensor, nn

from pipeline_lib.towers.pooling import pool_mean


class GatedFusion(nn.Module):
    """The fusion in `width` channels, for image tokens and text tokens of any width."""

    def __init__(self, token_width: int, text_width: int, width: int, alpha: float) -> None:
        super().__init__()
        self.image = nn.Linear(token_width, width)
        self.text = nn.Linear(text_width, width)
        self.gate = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, token_width)
        self.alpha = nn.Parameter(torch.tensor(alpha))

    def forward(self, tokens: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changed tokens (batch, n, token width) and the gate (batch, n, width), 0 to 1.

        tokens (batch, n, token width), text (batch, length, text width), mask bool (batch, length).
        """
        image = self.image(tokens)
        change = self.text(pool_mean(text, mask))[:, None].expand_as(image)
        gate = self.gate(torch.cat([image, change], dim=-1)).sigmoid()
        return tokens + self.alpha * self.out(gate * change), gate

"""Text-guided attention over patches: a sentence weighs the image tokens against each other.

With t the mean of the text tokens and w = softmax over the n tokens of <query(t), key(V)> / sqrt(head width):
V' = V + alpha * out((n w - 1) value(V)). The text asks and the image answers, as in X-Pool (Gorti et al. 2022,
arXiv:2203.15086). Even attention (w = 1 / n) and alpha = 0 leave the tokens as they are.
"""

import torch
from torch import Tensor, nn

from pipeline_lib.towers.pooling import pool_mean

HEAD_WIDTH = 64


class GuidedFusion(nn.Module):
    """The attention in `width` channels, in heads of HEAD_WIDTH, for image tokens and text tokens of any width."""

    def __init__(self, token_width: int, text_width: int, width: int, alpha: float) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        if width % self.heads:
            raise ValueError(f"composed.fusion_width = {width} is not a multiple of {HEAD_WIDTH}, the width of a head")
        self.query = nn.Linear(text_width, width)
        self.key = nn.Linear(token_width, width)
        self.value = nn.Linear(token_width, width)
        self.out = nn.Linear(width, token_width, bias=False)
        self.alpha = nn.Parameter(torch.tensor(alpha))

    def forward(self, tokens: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changed tokens (batch, n, token width) and n w (batch, n, heads): 1 = even attention.

        tokens (batch, n, token width), text (batch, length, text width), mask bool (batch, length).
        """
        batch, count, _ = tokens.shape
        query = self.query(pool_mean(text, mask)).view(batch, 1, self.heads, -1)
        key, value = (part(tokens).view(batch, count, self.heads, -1) for part in (self.key, self.value))
        scores = (query * key).sum(dim=-1) / key.shape[-1] ** 0.5
        weights = count * scores.softmax(dim=1)
        moved = (weights - 1)[..., None] * value
        return tokens + self.alpha * self.out(moved.flatten(2)), weights

"""Contrastive pretraining of the two towers (CLIP: Radford et al. 2021), small enough for two processor cores.

Both towers get a linear projection and the loss a learned temperature; all three are thrown away afterwards, as the
pipeline builds its own. Seeded: the same machine and thread count give the same weights.
"""

import dataclasses

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from shop.towers import MAX_POSITIONS, build_image_tower, build_text_tower, image_input

PROJECTION = 128
PEAK_LR, WEIGHT_DECAY, WARM_UP = 1.5e-3, 0.05, 0.1


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pictures (count, height, width, 3) as uint8, and the text of each."""

    pixels: torch.Tensor
    texts: list[str]


class Dual(nn.Module):
    """Two towers with a projection each, and the logit scale."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.image = build_image_tower().to(memory_format=torch.channels_last)
        self.text = build_text_tower(vocabulary_size)
        self.from_image = nn.LazyLinear(PROJECTION, bias=False)
        self.from_text = nn.LazyLinear(PROJECTION, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines (batch, batch), pictures down and texts across."""
        pictures = image_input(pixels).contiguous(memory_format=torch.channels_last)
        tokens = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        pooled = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        image = functional.normalize(self.from_image(self.image(pictures)).float(), dim=-1)
        text = functional.normalize(self.from_text(pooled).float(), dim=-1)
        return self.logit_scale.clamp(0, 4.6052).exp() * image @ text.T


def contrastive_loss(logits: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """Return the symmetric InfoNCE loss of (batch, batch) logits; an equal text is never a negative."""
    number = {text: index for index, text in enumerate(texts)}
    same = torch.tensor([number[text] for text in texts])
    repeated = (same[:, None] == same[None, :]) & ~torch.eye(len(texts), dtype=torch.bool)
    logits = logits.masked_fill(repeated, float("-inf"))
    truth = torch.arange(len(texts))
    return (functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)) / 2


def pretrain(pairs: Pairs, tokenizer: Tokenizer, epochs: int, batch_size: int, seed: int) -> tuple[Dual, list[float]]:
    """Return the trained towers and the mean loss of each epoch; ValueError if a loss is not finite."""
    torch.manual_seed(seed)
    tokenizer.enable_truncation(MAX_POSITIONS)
    tokenizer.no_padding()
    encoded = [tokenizer.encode(text).ids for text in pairs.texts]
    model = Dual(tokenizer.get_vocab_size())
    model(pairs.pixels[:2], *_padded(encoded[:2]))  # gives the lazy projections their width
    rates = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
    num_batches = max(1, len(encoded) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        rates, PEAK_LR, total_steps=epochs * num_batches + 1, pct_start=WARM_UP, cycle_momentum=False
    )
    history = []
    for epoch in range(epochs):
        order = torch.randperm(len(encoded)).tolist()
        total = 0.0
        for start in range(0, num_batches * batch_size, batch_size):
            chosen = order[start : start + batch_size]
            ids, mask = _padded([encoded[index] for index in chosen])
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(pairs.pixels[chosen], ids, mask)
            loss = contrastive_loss(logits, [pairs.texts[index] for index in chosen])
            if not torch.isfinite(loss):
                raise ValueError(f"pretraining: the loss is {loss.item()} in epoch {epoch}; lower PEAK_LR")
            rates.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rates.step()
            schedule.step()
            total += loss.item()
        history.append(total / num_batches)
    return model, history


def _padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, (ids != 0).long()

"""Pretrains the two towers, small enough for two processor cores: each learns to classify the properties of an object.

Like a timm model and a BERT from a hub, the towers are trained separately; the pipeline aligns them. Supervised by
properties they fine-tuned better here than after a contrastive pretraining of the same length. Training is seeded: the
same machine and thread count give the same weights.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from shop.pairs import Numbers, Pairs
from shop.stage import write_line
from shop.towers import MAX_POSITIONS, build_image_tower, build_text_tower, image_input

# Scales of the image size that batches are resized to, so that the tower works at sizes around it.
SIZES = (0.75, 0.875, 1.0, 1.125)
IMAGE_LR, TEXT_LR, WEIGHT_DECAY, WARM_UP = 5e-3, 2e-3, 0.05, 0.15
PRINT_SECONDS = 10.0  # between two lines on how far a tower is


class Training(NamedTuple):
    """How a tower is trained, and its name for the lines that say how far it is."""

    name: str
    epochs: int
    batch_size: int
    peak_lr: float


def pretrain_image(pairs: Pairs, params: dict[str, int], seed: int) -> tuple[nn.Module, float]:
    """Return the trained image tower, and its mean accuracy over the properties in the last epoch.

    Raises ValueError if a loss is not finite.
    """
    torch.manual_seed(seed)
    pixels = torch.from_numpy(pairs.pixels)
    # The texture of a material is not visible at this size.
    labels = {name: torch.from_numpy(value) for name, value in pairs.properties.items() if name != "material"}
    tower = build_image_tower().to(memory_format=torch.channels_last)

    def encode_pictures(rows: Tensor) -> Tensor:
        pictures = image_input(pixels[rows])
        side = round(pictures.shape[-1] * SIZES[int(torch.randint(len(SIZES), ()))])
        resized = functional.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)
        features: Tensor = tower(resized.contiguous(memory_format=torch.channels_last))
        return features

    training = Training("image tower", params["image_epochs"], params["batch_size"], IMAGE_LR)
    return tower, _train(encode_pictures, tower, labels, training)


def pretrain_text(pairs: Pairs, tokenizer: Tokenizer, params: dict[str, int], seed: int) -> tuple[nn.Module, float]:
    """Return the trained text tower, and its mean accuracy over the properties in the last epoch; raises as above."""
    torch.manual_seed(seed)
    # The mentioned category is not in the picture, so only the text tower learns it.
    labels = {name: torch.from_numpy(value) for name, value in pairs.properties.items()}
    labels |= {"mentioned": torch.from_numpy(pairs.mentioned)}
    tower = build_text_tower(tokenizer.get_vocab_size())
    training = Training("text tower", params["text_epochs"], params["batch_size"], TEXT_LR)
    return tower, _train(_text_encoder(tower, tokenizer, pairs.texts), tower, labels, training)


def pretrain_captions(
    tower: nn.Module, tokenizer: Tokenizer, texts: list[str], labels: dict[str, Numbers], params: dict[str, int]
) -> float:
    """Train a text tower further on what the captions of clips say; return its mean accuracy in the last epoch.

    `labels` has the number of each caption's value of each property; raises as above.
    """
    torch.manual_seed(params["seed"])
    training = Training("text tower for clips", params["epochs"], params["batch_size"], TEXT_LR)
    tensors = {name: torch.from_numpy(value) for name, value in labels.items()}
    return _train(_text_encoder(tower, tokenizer, texts), tower, tensors, training)


def _text_encoder(tower: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> Callable[[Tensor], Tensor]:
    """Return a function from the rows of texts to the mean of their token features."""
    tokenizer.enable_truncation(MAX_POSITIONS)
    tokenizer.no_padding()
    encoded = [tokenizer.encode(text).ids for text in texts]

    def encode_texts(rows: Tensor) -> Tensor:
        ids, mask = _padded([encoded[row] for row in rows.tolist()])
        tokens = tower(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        pooled: Tensor = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        return pooled

    return encode_texts


def _train(
    encode: Callable[[Tensor], Tensor], tower: nn.Module, labels: dict[str, Tensor], training: Training
) -> float:
    """Train a tower with a temporary linear head per property; return the mean accuracy in the last epoch."""
    name, epochs, batch_size, peak_lr = training
    started = printed = time.monotonic()
    count = len(next(iter(labels.values())))
    width = encode(torch.arange(2)).shape[1]
    heads = nn.ModuleDict({name: nn.Linear(width, int(value.max()) + 1) for name, value in labels.items()})
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=peak_lr, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98), fused=True)
    num_batches = max(1, count // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_lr, total_steps=epochs * num_batches + 1, pct_start=WARM_UP, cycle_momentum=False
    )
    accuracy = 0.0
    for epoch in range(epochs):
        order, accuracy = torch.randperm(count), 0.0
        for number in range(num_batches):
            rows = order[number * batch_size : (number + 1) * batch_size]
            features = encode(rows)
            logits = {name: heads[name](features) for name in labels}
            loss = torch.stack(
                [functional.cross_entropy(logits[name], value[rows]) for name, value in labels.items()]
            ).sum()
            if not torch.isfinite(loss):
                raise ValueError(f"pretraining: the loss is {loss.item()}; lower the lr")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            hits = [(logits[name].argmax(1) == value[rows]).float().mean() for name, value in labels.items()]
            accuracy += torch.stack(hits).mean().item() / num_batches
            if time.monotonic() - printed >= PRINT_SECONDS:
                printed = time.monotonic()
                done, total = epoch * num_batches + number + 1, epochs * num_batches
                left = (printed - started) * (total - done) / done
                write_line(f"{name}: {done:,} of {total:,} batches, {left:,.0f} s left")
    return accuracy


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, (ids != 0).long()

"""The fusions of a reference's image tokens with its sentence, by their name in params.yaml."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pipeline_lib.models.composed.gated import GatedFusion
from pipeline_lib.models.composed.guided import GuidedFusion
from pipeline_lib.params.composed import ComposedFusion

# Name -> builder(token width, text width, fusion width, initial alpha) of a module (tokens (batch, n, token width),
# text (batch, length, text width), mask (batch, length)) -> (tokens, gate (batch, n, channels)); None = no fusion.
FUSIONS: dict[ComposedFusion, Callable[[int, int, int, float], nn.Module | None]] = {
    "none": lambda *_: None,
    "gated": GatedFusion,
    "guided": GuidedFusion,
}


@contextmanager
def switched_off(fusion: GatedFusion | GuidedFusion) -> Iterator[None]:
    """Let a trained fusion leave the tokens as they are, as alpha = 0 does; no other parameter changes."""
    learned = fusion.alpha.detach().clone()
    with torch.no_grad():
        fusion.alpha.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            fusion.alpha.copy_(learned)


def build_fusion(description: dict[str, Any], text_width: int) -> nn.Module | None:
    """Return the fusion that a model's description names, for text tokens of `text_width`; None for none."""
    fusion = description["fusion"]
    return FUSIONS[fusion["kind"]](description["widths"]["tokens"], text_width, fusion["width"], fusion["alpha"])

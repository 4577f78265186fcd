"""A slow copy of the model, whose weights follow the trained ones (MoCo, He et al. 2020, arXiv:1911.05722).

It embeds the same batches without gradient, in evaluation mode: without dropout its keys differ from step to step by
the momentum alone, and it draws no random number, so that a run's other draws are the same with and without it.
"""

import copy
from dataclasses import dataclass

import torch

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.models.multimodal import NO_SUFFIX, ImageTextModel, SuffixGroups


@dataclass(frozen=True)
class MomentumEncoder:
    """The slow copy and its momentum: slow = momentum * slow + (1 - momentum) * trained, after every step."""

    model: ImageTextModel
    momentum: float

    @torch.no_grad()
    def embed(self, batch: Batch, num_suffix_groups: SuffixGroups = NO_SUFFIX) -> Outputs:
        """Return the copy's outputs; `num_suffix_groups` is as in `ImageTextModel.features`."""
        outputs: Outputs = self.model(batch, num_suffix_groups)
        return outputs

    @torch.no_grad()
    def follow(self, trained: ImageTextModel) -> None:
        """Take one step towards the trained weights; buffers are taken over as they are."""
        for slow, fast in zip(self.model.parameters(), trained.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)
        for held, now in zip(self.model.buffers(), trained.buffers(), strict=True):
            held.copy_(now)


def build_momentum_encoder(model: ImageTextModel, momentum: float) -> MomentumEncoder:
    """Return a copy that begins as the model is."""
    return MomentumEncoder(copy.deepcopy(model).eval().requires_grad_(False), momentum)

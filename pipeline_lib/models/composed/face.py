"""The face of every composed model: a query from a reference and a sentence, and the embeddings of targets.

The models read stored outputs of the towers. A frozen part stays in evaluation mode, so that its dropout is off.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.losses.composed_pairs import ComposedPairs
from pipeline_lib.models.composed.inputs import ComposedInputs, ComposedOutputs
from pipeline_lib.models.scale_bounds import MAX_LOG_SCALE, ScaleBounds
from pipeline_lib.towers.tower import Description


class ComposedModel(nn.Module, ABC):
    """Base class of the composed models; `description` (JSON values) rebuilds it.

    `needs` and `target_needs` name the fields of `ComposedInputs` that a reference and a target must have; `gives`
    names what `forward` adds to `ComposedPairs.extra`.
    """

    scale_bounds: ClassVar[ScaleBounds] = {"log_scale": (0.0, MAX_LOG_SCALE)}
    needs: frozenset[str]
    target_needs: frozenset[str]
    gives: frozenset[str] = frozenset()

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.description = description
        self.log_scale = nn.Parameter(torch.tensor(float(description["logit_scale"])))
        self.patches: nn.Linear | None = None
        if description["patches"]:
            self.patches = nn.Linear(description["widths"]["tokens"], description["embedding_dim"])

    @property
    def logit_scale(self) -> Tensor:
        """Return the scale of the similarities, a scalar."""
        return self.log_scale.exp()

    @abstractmethod
    def compose(self, reference: ComposedInputs, extra: bool = True) -> ComposedOutputs:
        """Return unit query embeddings (batch, dim); without `extra`, not what only losses read beside them."""

    @abstractmethod
    def encode_targets(self, target: ComposedInputs) -> Tensor:
        """Return unit embeddings (batch, vectors, dim) of targets."""

    def encode_patches(self, target: ComposedInputs) -> Tensor:
        """Return unit embeddings (batch, n, dim) of the image tokens of targets, for the patch contrast."""
        assert self.patches is not None
        return functional.normalize(self.patches(self.values(target, frozenset({"tokens"}))["tokens"]), dim=-1)

    def forward(
        self, reference: ComposedInputs, target: ComposedInputs, positives: Tensor | None = None
    ) -> ComposedPairs:
        """Return what the losses read; row i of the references is answered by target i (see `ComposedPairs`)."""
        outputs = self.compose(reference)
        extra = dict(outputs.extra)
        if self.patches is not None:
            extra["patches"] = self.encode_patches(target)
        return ComposedPairs(outputs.query, self.encode_targets(target), self.logit_scale, positives, extra)

    def train(self, mode: bool = True) -> "ComposedModel":
        """Set training mode, and evaluation mode for every part whose parameters are all frozen."""
        super().train(mode)
        for module in self.modules():
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
        return self

    def values(self, inputs: ComposedInputs, names: frozenset[str]) -> dict[str, Tensor]:
        """Return the named inputs, stored numbers in the model's dtype; ValueError names one that is missing."""
        found: dict[str, Tensor] = {}
        for name in sorted(names):
            value: Tensor | None = getattr(inputs, name)
            if value is None:
                raise ValueError(f"this composed model reads {', '.join(sorted(names))}, but the inputs have no {name}")
            found[name] = value.to(self.log_scale.dtype) if value.is_floating_point() else value
        return found

"""The sum of a reference's and a sentence's embedding as the query: the strongest cheap model of composed retrieval.

BGE-VL-Base is such a sum of CLIP embeddings (Zhou et al. 2024, arXiv:2412.14475). Here the towers are frozen and the
maps into the joint space are trained; where a tower has its width already, they start as the identity.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.composed.fusions import build_fusion
from pipeline_lib.models.composed.inputs import ComposedInputs, ComposedOutputs
from pipeline_lib.towers.projectors import linear
from pipeline_lib.towers.tower import Description


class SumModel(ComposedModel):
    """query = norm(image + text), of unit embeddings. With a fusion, the image is the mean of the fused tokens."""

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        widths, dim = description["widths"], description["embedding_dim"]
        self.fusion = build_fusion(description, widths["text"])
        image = "image" if self.fusion is None else "tokens"
        self.needs = frozenset({image, "text"})
        self.target_needs = frozenset({image} if self.patches is None else {image, "tokens"})
        self.gives = frozenset() if self.patches is None else frozenset({"patches"})
        self.image_projection = _map(widths[image], dim)
        self.text_projection = _map(widths["text"], dim)

    def compose(self, reference: ComposedInputs, extra: bool = True) -> ComposedOutputs:
        """Return unit query embeddings (batch, dim), and as extra the gate of a fusion."""
        inputs = self.values(reference, self.needs)
        text = inputs["text"]
        found = {}
        if self.fusion is None:
            image = inputs["image"]
        else:
            mask = torch.ones(len(text), 1, dtype=torch.bool, device=text.device)
            tokens, found["gate"] = self.fusion(inputs["tokens"], text[:, None], mask)
            image = tokens.mean(dim=1)
        query = self.combine(_unit(self.image_projection(image)), _unit(self.text_projection(text)))
        return ComposedOutputs(_unit(query), found)

    def combine(self, image: Tensor, text: Tensor) -> Tensor:
        """Return queries (batch, dim), of any length, of unit embeddings (batch, dim) of image and text."""
        return image + text

    def encode_targets(self, target: ComposedInputs) -> Tensor:
        """Return unit embeddings (batch, 1, dim) of targets; with a fusion, of the mean of their tokens."""
        inputs = self.values(target, self.target_needs)
        image = inputs["image"] if self.fusion is None else inputs["tokens"].mean(dim=1)
        return _unit(self.image_projection(image))[:, None]


def _map(width: int, dim: int) -> nn.Linear:
    layer = linear(width, dim)
    if width == dim:
        nn.init.eye_(layer.weight)  # type: ignore[arg-type]
    assert isinstance(layer, nn.Linear)
    return layer


def _unit(values: Tensor) -> Tensor:
    return functional.normalize(values, dim=-1)

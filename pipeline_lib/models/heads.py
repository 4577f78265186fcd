"""What stands on top of the towers: the projections into the joint space and the classifier."""

import torch
from torch import Tensor, nn

from pipeline_lib.params.model import ClassifierInputs

# Name -> which towers' features the classifier reads, in this order.
CLASSIFIER_INPUTS: dict[ClassifierInputs, tuple[str, ...]] = {
    "concat": ("image", "text"),
    "image": ("image",),
    "text": ("text",),
}


class Classifier(nn.Module):
    """Tells a product's class (batch, classes) from its towers' pooled features.

    Each tower's features are layer-normalised first: two towers of unlike scale would otherwise not share one
    linear layer fairly. Then Dropout, Linear, GELU, Dropout, Linear.
    """

    def __init__(
        self, inputs: ClassifierInputs, dims: dict[str, int], hidden: int, dropout: float, classes: int
    ) -> None:
        super().__init__()
        self.inputs = CLASSIFIER_INPUTS[inputs]
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dims[name]) for name in self.inputs})
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(sum(dims[name] for name in self.inputs), hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Return class logits (batch, classes) of pooled features by tower name, each (batch, dim)."""
        joined = torch.cat([self.norms[name](features[name]) for name in self.inputs], dim=-1)
        logits: Tensor = self.layers(joined)
        return logits


def projection(in_dim: int, out_dim: int) -> nn.Linear:
    """Return the linear map into the joint space, without bias as in CLIP."""
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=in_dim**-0.5)
    return layer

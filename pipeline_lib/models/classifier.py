"""The classifier on top of the towers: it joins their pooled features into one vector and computes class logits.

Each tower's features are layer-normalised first, so that their scales do not decide how much each contributes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.params.model import ClassifierInputs, ClassifierKind

# Tower -> pooled features (batch, dim).
Features = dict[str, Tensor]


@dataclass(frozen=True)
class ClassifierConfig:
    """The `classifier` section of a model's description; `kind` and `scale` may be missing in one."""

    inputs: ClassifierInputs
    hidden: int
    dropout: float
    kind: ClassifierKind = "mlp"
    scale: float = 10.0


class Gated(nn.Module):
    """The gated multimodal unit: a gate for each unit weights image against text.

    h = z * tanh(W_image x_image) + (1 - z) * tanh(W_text x_text), z = sigmoid(W_z [x_image, x_text]); no biases
    (Arevalo et al. 2017, arXiv:1702.01992).
    """

    def __init__(self, dims: dict[str, int], width: int) -> None:
        super().__init__()
        self.image = nn.Linear(dims["image"], width, bias=False)
        self.text = nn.Linear(dims["text"], width, bias=False)
        self.gate = nn.Linear(dims["image"] + dims["text"], width, bias=False)
        self.width = width

    def forward(self, features: Features) -> Tensor:
        """Return (batch, width) of both towers' features, each (batch, dim)."""
        gate = torch.sigmoid(self.gate(torch.cat([features["image"], features["text"]], dim=-1)))
        mixed: Tensor = gate * torch.tanh(self.image(features["image"]))
        return mixed + (1 - gate) * torch.tanh(self.text(features["text"]))


class Summed(nn.Module):
    """The sum of both towers' features, each mapped linearly to `width` if their dims differ."""

    def __init__(self, dims: dict[str, int], width: int) -> None:
        super().__init__()
        equal = dims["image"] == dims["text"]
        self.width = dims["image"] if equal else width
        self.ways_in = nn.ModuleDict(
            {name: nn.Identity() if equal else nn.Linear(dims[name], width) for name in ("image", "text")}
        )

    def forward(self, features: Features) -> Tensor:
        """Return (batch, width) of both towers' features, each (batch, dim)."""
        total: Tensor = self.ways_in["image"](features["image"]) + self.ways_in["text"](features["text"])
        return total


class Joined(nn.Module):
    """The concatenated features of one or two towers."""

    def __init__(self, dims: dict[str, int], width: int) -> None:
        super().__init__()
        self.names = tuple(dims)
        self.width = sum(dims.values())

    def forward(self, features: Features) -> Tensor:
        """Return (batch, width) of the towers' features, each (batch, dim)."""
        return torch.cat([features[name] for name in self.names], dim=-1)


class CosineLayer(nn.Module):
    """Logits scale * cos(x, w_k) with a learned scale (Gidaris & Komodakis 2018, arXiv:1804.09458)."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.normal_(self.weight, std=width**-0.5)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, joined: Tensor) -> Tensor:
        """Return logits (batch, classes) of features (batch, width)."""
        unit = functional.normalize(joined.float(), dim=-1)
        return self.scale * unit @ functional.normalize(self.weight.float(), dim=-1).T


def mlp(config: ClassifierConfig, width: int, classes: int) -> nn.Module:
    """Return Dropout, Linear, GELU, Dropout, Linear."""
    return nn.Sequential(
        nn.Dropout(config.dropout),
        nn.Linear(width, config.hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, classes),
    )


def linear(config: ClassifierConfig, width: int, classes: int) -> nn.Module:
    """Return Dropout, Linear."""
    return nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, classes))


def cosine(config: ClassifierConfig, width: int, classes: int) -> nn.Module:
    """Return Dropout, CosineLayer."""
    return nn.Sequential(nn.Dropout(config.dropout), CosineLayer(width, classes, config.scale))


# Name -> builder(config, width, classes) of a module (batch, width) -> logits (batch, classes).
CLASSIFIERS: dict[ClassifierKind, Callable[[ClassifierConfig, int, int], nn.Module]] = {
    "mlp": mlp,
    "linear": linear,
    "cosine": cosine,
}
# Name -> the towers whose features the classifier reads, in order.
CLASSIFIER_INPUTS: dict[ClassifierInputs, tuple[str, ...]] = {
    "concat": ("image", "text"),
    "gated": ("image", "text"),
    "sum": ("image", "text"),
    "image": ("image",),
    "text": ("text",),
}
# Name -> builder(dims of those towers, width) of a module features -> (batch, its own `width`).
JOINTS: dict[ClassifierInputs, Callable[[dict[str, int], int], Gated | Summed | Joined]] = {
    "concat": Joined,
    "gated": Gated,
    "sum": Summed,
    "image": Joined,
    "text": Joined,
}


class Classifier(nn.Module):
    """Class logits (batch, classes) from the towers' pooled features; `dims` are the towers' feature dims."""

    def __init__(self, config: ClassifierConfig, dims: dict[str, int], classes: int) -> None:
        super().__init__()
        self.inputs = CLASSIFIER_INPUTS[config.inputs]
        input_dims = {name: dims[name] for name in self.inputs}
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name, dim in input_dims.items()})
        self.joint = JOINTS[config.inputs](input_dims, config.hidden)
        self.layers = CLASSIFIERS[config.kind](config, self.joint.width, classes)

    def forward(self, features: Features) -> Tensor:
        """Return class logits (batch, classes) of pooled features by tower name, each (batch, dim)."""
        joined = self.joint({name: self.norms[name](features[name]) for name in self.inputs})
        logits: Tensor = self.layers(joined)
        return logits

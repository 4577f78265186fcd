"""The classifier on top of the towers: their pooled features made one vector, and that vector's classes.

Each tower's features are layer-normalised first: two towers of unlike scale would otherwise not share one layer fairly.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.params.model import ClassifierInputs, ClassifierKind

Features = dict[str, Tensor]


class Gated(nn.Module):
    """A gate for every unit that weighs image against text: the gated multimodal unit of two modalities.

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
        """Return (batch, width) of both sides' features, each (batch, dim)."""
        gate = torch.sigmoid(self.gate(torch.cat([features["image"], features["text"]], dim=-1)))
        mixed: Tensor = gate * torch.tanh(self.image(features["image"]))
        return mixed + (1 - gate) * torch.tanh(self.text(features["text"]))


class Summed(nn.Module):
    """The sum of both sides; where they are not equally wide, each enters through a linear map to `width`."""

    def __init__(self, dims: dict[str, int], width: int) -> None:
        super().__init__()
        equal = dims["image"] == dims["text"]
        self.width = dims["image"] if equal else width
        self.ways_in = nn.ModuleDict(
            {name: nn.Identity() if equal else nn.Linear(dims[name], width) for name in ("image", "text")}
        )

    def forward(self, features: Features) -> Tensor:
        """Return (batch, width) of both sides' features, each (batch, dim)."""
        total: Tensor = self.ways_in["image"](features["image"]) + self.ways_in["text"](features["text"])
        return total


class Joined(nn.Module):
    """The sides one behind the other; of one side alone, that side."""

    def __init__(self, dims: dict[str, int], width: int) -> None:
        super().__init__()
        self.names = tuple(dims)
        self.width = sum(dims.values())

    def forward(self, features: Features) -> Tensor:
        """Return (batch, width) of the sides' features, each (batch, dim)."""
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


def mlp(width: int, hidden: int, dropout: float, classes: int, scale: float) -> nn.Module:
    """Return Dropout, Linear, GELU, Dropout, Linear."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def linear(width: int, hidden: int, dropout: float, classes: int, scale: float) -> nn.Module:
    """Return Dropout, Linear."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))


def cosine(width: int, hidden: int, dropout: float, classes: int, scale: float) -> nn.Module:
    """Return Dropout and cosines with one learned direction a class."""
    return nn.Sequential(nn.Dropout(dropout), CosineLayer(width, classes, scale))


# Name -> builder(width, hidden, dropout, classes, scale) of a module (batch, width) -> logits (batch, classes).
CLASSIFIERS: dict[ClassifierKind, Callable[[int, int, float, int, float], nn.Module]] = {
    "mlp": mlp,
    "linear": linear,
    "cosine": cosine,
}
# Name -> which towers' features the classifier reads, in this order.
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
    """Tells a product's class (batch, classes) from its towers' pooled features."""

    def __init__(
        self,
        inputs: ClassifierInputs,
        dims: dict[str, int],
        hidden: int,
        dropout: float,
        classes: int,
        kind: ClassifierKind = "mlp",
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        self.inputs = CLASSIFIER_INPUTS[inputs]
        read = {name: dims[name] for name in self.inputs}
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name, dim in read.items()})
        self.joint = JOINTS[inputs](read, hidden)
        self.layers = CLASSIFIERS[kind](self.joint.width, hidden, dropout, classes, scale)

    def forward(self, features: Features) -> Tensor:
        """Return class logits (batch, classes) of pooled features by tower name, each (batch, dim)."""
        joined = self.joint({name: self.norms[name](features[name]) for name in self.inputs})
        logits: Tensor = self.layers(joined)
        return logits

"""The model: two towers, projections into one space, a classifier; parts that no loss trains are not there.

A batch carries pixels or stored features, tokens or stored features; the model runs the trunks only on what is not
stored. `describe` and `build_model` are inverse, so a saved model needs no params to come back.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.adapters import adapter_state, attach, describe_adapters
from pipeline_lib.models.heads import Classifier, projection
from pipeline_lib.models.hf_text_tower import build_hf, resolve_hf
from pipeline_lib.models.timm_tower import build_timm, resolve_timm
from pipeline_lib.models.towers import Description, ImageTower, TextTower, TowerSource, load_strictly
from pipeline_lib.params.model import ImageTowerKind, ImageTowerParams, ModelParams, TextTowerKind, TextTowerParams
from pipeline_lib.records import Batch, Outputs

MAX_LOGIT_SCALE = 4.6052  # ln 100, the clamp of CLIP and Chinese-CLIP

# Kind -> (params -> source of weights, description -> tower with random weights).
IMAGE_TOWERS: dict[
    ImageTowerKind, tuple[Callable[[ImageTowerParams], TowerSource], Callable[[Description], ImageTower]]
] = {"timm": (resolve_timm, build_timm)}
TEXT_TOWERS: dict[
    TextTowerKind, tuple[Callable[[TextTowerParams], TowerSource], Callable[[Description], TextTower]]
] = {"hf": (resolve_hf, build_hf)}


class ImageTextModel(nn.Module):
    """Image and text towers with the heads named in `description`."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.description = description
        self.image = IMAGE_TOWERS[description["image"]["kind"]][1](description["image"])
        self.text = TEXT_TOWERS[description["text"]["kind"]][1](description["text"])
        dims = {"image": self.image.dim, "text": self.text.dim}
        head: dict[str, nn.Module] = {}
        if description["retrieval"]:
            head["image_projection"] = projection(dims["image"], description["embedding_dim"])
            head["text_projection"] = projection(dims["text"], description["embedding_dim"])
            self.logit_scale = nn.Parameter(torch.tensor(float(description["logit_scale"])))
        if description["classes"]:
            head["classifier"] = Classifier(**description["classifier"], dims=dims, classes=len(description["classes"]))
        self.head = nn.ModuleDict(head)
        self.shared_slots = attach(self.towers(), description.get("adapters", {}))

    def towers(self) -> dict[str, ImageTower | TextTower]:
        """Return the towers by name."""
        return {"image": self.image, "text": self.text}

    def head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return all that lies in no tower: projections, classifier, logit scale."""
        inside = ("image.", "text.")
        return [(name, value) for name, value in self.named_parameters() if not name.startswith(inside)]

    def features(self, batch: Batch) -> dict[str, Tensor]:
        """Return each tower's pooled features (batch, dim), stored ones where the batch has them."""
        found: dict[str, Tensor] = {}
        if batch.image_features is not None:
            found["image"] = batch.image_features
        elif batch.pixels is not None:
            found["image"] = self.image.encode(batch.pixels)
        if batch.text_features is not None:
            found["text"] = batch.text_features
        elif batch.token_ids is not None and batch.token_mask is not None:
            found["text"] = self.text.encode(batch.token_ids, batch.token_mask)
        return found

    def embed_image(self, features: Tensor) -> Tensor:
        """Return L2-normalised embeddings (batch, embedding_dim) of pooled image features."""
        return functional.normalize(self.head["image_projection"](features).float(), dim=-1)

    def embed_text(self, features: Tensor) -> Tensor:
        """Return L2-normalised embeddings (batch, embedding_dim) of pooled text features."""
        return functional.normalize(self.head["text_projection"](features).float(), dim=-1)

    def classify(self, features: dict[str, Tensor]) -> Tensor:
        """Return class logits (batch, classes) of pooled features by tower."""
        logits: Tensor = self.head["classifier"](features)
        return logits.float()

    def forward(self, batch: Batch) -> Outputs:
        """Return what each head says of the batch."""
        found = self.features(batch)
        retrieval = self.description["retrieval"]
        return Outputs(
            image_embedding=self.embed_image(found["image"]) if retrieval else None,
            text_embedding=self.embed_text(found["text"]) if retrieval else None,
            logit_scale=self.logit_scale.clamp(0, MAX_LOGIT_SCALE).exp() if retrieval else None,
            class_logits=self.classify(found) if self.description["classes"] else None,
        )


def resolve_towers(params: ModelParams) -> dict[str, TowerSource]:
    """Return both towers' sources, by name; the slow part of it is reading weights."""
    return {
        "image": IMAGE_TOWERS[params.image.kind][0](params.image),
        "text": TEXT_TOWERS[params.text.kind][0](params.text),
    }


def describe(
    params: ModelParams, sources: dict[str, TowerSource], retrieval: bool, classes: list[str]
) -> dict[str, Any]:
    """Return all that is needed to rebuild the model, as JSON values."""
    return {
        **{name: source.description for name, source in sources.items()},
        "embedding_dim": params.embedding_dim,
        "logit_scale": params.logit_scale,
        "classifier": params.classifier.model_dump(),
        "retrieval": retrieval,
        "classes": classes,
        **({"adapters": adapters} if (adapters := describe_adapters(params)) else {}),
    }


def build_model(description: Description, sources: dict[str, TowerSource] | None = None) -> ImageTextModel:
    """Build a model from its description, towers filled from `sources` where they have weights."""
    model = ImageTextModel(description)
    for name, source in (sources or {}).items():
        if source.state is not None:
            tower = model.towers()[name]
            load_strictly(tower, {**adapter_state(tower), **source.state}, str(source.weights))
    return model

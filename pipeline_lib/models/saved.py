"""A trained model on disk: model.safetensors, and model.json to rebuild it without params or pretrained weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.io import read_json, write_json, writing
from pipeline_lib.models.multimodal import ImageTextModel, build_model
from pipeline_lib.models.weights import load_strictly, read_weights, unique_state, weights_hash

WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class SavedModel:
    """A loaded model with its card: description, fingerprint and the run that trained it."""

    model: ImageTextModel
    card: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Identity of description and weights; indexes and feature stores of the model carry it too."""
        return str(self.card["fingerprint"])


def save_model(folder: Path, model: ImageTextModel, run: dict[str, Any]) -> str:
    """Write weights and card and return the fingerprint; `run` (JSON values) describes how it was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: _own_storage(value.detach().cpu()) for name, value in unique_state(model).items()}
    identity = digest_value([model.description, weights_hash(state)])
    with writing(folder / WEIGHTS):
        save_file(state, folder / WEIGHTS)
    write_json(folder / CARD, {"description": model.description, "fingerprint": identity, "run": run})
    return identity


def _own_storage(value: Tensor) -> Tensor:
    """Return a contiguous tensor that is no view into another's memory, which safetensors would refuse to write."""
    value = value.contiguous()
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def read_card(folder: Path) -> dict[str, Any]:
    """Return a saved model's card; ValueError if the folder has no model."""
    if not (folder / CARD).is_file():
        raise ValueError(f"{folder}: no trained model here; is its fold in plan.folds? then run `dvc repro`")
    card: dict[str, Any] = read_json(folder / CARD)
    return card


def load_model(folder: Path) -> SavedModel:
    """Load a model in evaluation mode; ValueError if it is missing or its weights do not match its card."""
    card = read_card(folder)
    model = build_model(card["description"])
    load_strictly(model, read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    return SavedModel(model.eval(), card)

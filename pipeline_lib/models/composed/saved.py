"""A trained composed model on disk, in the form of a saved image-text model, with the tokenizer of its Q-Former.

The file holds every tensor, also those of a frozen Q-Former.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.read import reading
from pipeline_lib.models.composed.build import build_composed
from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.saved import CARD, WEIGHTS, own_weights, read_card, write_model_files
from pipeline_lib.towers.weights import load_strictly, unique_state, weights_hash
from pipeline_lib.transforms.tokenize import TextTokenizer

TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class SavedComposed:
    """A loaded composed model with its card: description, fingerprint and the run that trained it."""

    model: ComposedModel
    card: dict[str, Any]
    tokenizer: TextTokenizer | None

    @property
    def fingerprint(self) -> str:
        """Identity of description and weights."""
        return str(self.card["fingerprint"])


def save_composed(folder: Path, model: ComposedModel, run: dict[str, Any]) -> str:
    """Write weights, card and tokenizer and return the fingerprint; `run` (JSON values) describes the training."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu() for name, value in unique_state(model).items()}
    identity = digest_value([model.description, weights_hash(state)])
    write_model_files(folder, state, {"description": model.description, "fingerprint": identity, "run": run})
    if "q_former" in model.description:
        TextTokenizer(model.description["q_former"]["tokenizer"]).save(folder / TOKENIZER)
    return identity


def load_composed(folder: Path) -> SavedComposed:
    """Load a composed model in evaluation mode; ValueError if it is missing or its weights do not match its card."""
    card = read_card(folder)
    with reading(folder / CARD):
        model = build_composed(card["description"])
    load_strictly(model, own_weights(folder, card), str(folder / WEIGHTS))
    tokenizer = TextTokenizer(folder / TOKENIZER) if (folder / TOKENIZER).is_dir() else None
    return SavedComposed(model.eval(), card, tokenizer)

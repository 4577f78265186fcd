"""A trained model on disk: model.safetensors, and model.json to rebuild it without params.

Tensors that are equal to those of the base, the weights that its towers had before training, are not in the file: the
card names the base. `make_whole` puts them in, for a folder that leaves the project.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from pipeline_lib.artifacts.checksums import check_sum, checksum
from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.io import write_json, writing
from pipeline_lib.artifacts.read import damaged, read_object, reading
from pipeline_lib.models.base_weights import BaseCard, BaseWeights, base_tensors, split_base
from pipeline_lib.models.multimodal import ImageTextModel, build_model, is_heads_alone
from pipeline_lib.towers.uninitialised import uninitialised
from pipeline_lib.towers.weights import State, load_strictly, read_weights, unique_state, weights_hash

WEIGHTS, CARD = "model.safetensors", "model.json"
# Key of the card: what the model shares with its base (see `BaseCard`). A model that is whole has none.
BASE = "base"
# Key of the card: the checksum of the file of the weights.
CHECKSUM = "checksum"
TOWERS = ("image", "text")


@dataclass(frozen=True)
class SavedModel:
    """A loaded model with its card: description, fingerprint and the run that trained it."""

    model: ImageTextModel
    card: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Identity of description and weights; indexes and feature stores of the model carry it too."""
        return str(self.card["fingerprint"])


def save_model(folder: Path, model: ImageTextModel, run: dict[str, Any], base: BaseWeights | None = None) -> str:
    """Write weights and card and return the fingerprint; `run` (JSON values) describes how it was trained.

    Tensors that are equal to those of `base` are left out. A model of heads alone has the towers of `base`. The
    fingerprint is that of all tensors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu() for name, value in unique_state(model).items()}
    own, shared = (state, {}) if base is None else split_base(state, base, is_heads_alone(model))
    identity = digest_value([model.description, *_part_hashes(state, shared)])
    card = {"description": model.description, "fingerprint": identity, "run": run}
    write_model_files(folder, own, card | ({BASE: shared} if shared else {}))
    return identity


def _part_hashes(state: State, shared: BaseCard) -> Iterator[str | None]:
    """Yield the `weights_hash` of each tower and of the other tensors; that of a tower that is its base is known."""
    rest = dict(state)
    for tower in TOWERS:
        tensors = {name: rest.pop(f"{tower}.{name}") for name in _names_below(state, tower)}
        is_base = tower in shared and tensors.keys() <= shared[tower]["tensors"].keys()
        yield shared[tower]["hash"] if is_base else weights_hash(tensors)
    yield weights_hash(rest)


def _names_below(state: State, tower: str) -> list[str]:
    return [name.removeprefix(f"{tower}.") for name in state if name.startswith(f"{tower}.")]


def make_whole(folder: Path, root: Path = Path()) -> None:
    """Put the tensors of its base into a saved model's file; relative paths of the base are below `root`."""
    card = read_card(folder)
    if BASE in card:
        state = read_state(folder, root=root)
        write_model_files(folder, state, {key: value for key, value in card.items() if key != BASE})


def write_model_files(folder: Path, state: State, card: dict[str, Any]) -> None:
    """Replace weights and card: they may be links into DVC's cache, and the tensors may be mapped from the old file."""
    weights, described = (folder / f"{name}.part" for name in (WEIGHTS, CARD))
    with writing(folder / WEIGHTS):
        save_file({name: _own_storage(value) for name, value in state.items()}, weights)
    write_json(described, card | {CHECKSUM: checksum(weights)})
    weights.replace(folder / WEIGHTS)
    described.replace(folder / CARD)


def _own_storage(value: Tensor) -> Tensor:
    """Return a contiguous tensor that is no view into another's memory, which safetensors would refuse to write."""
    value = value.contiguous()
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def read_card(folder: Path) -> dict[str, Any]:
    """Return a saved model's card; ValueError if the folder has no model."""
    if not (folder / CARD).is_file():
        raise ValueError(f"{folder}: no trained model here; is its fold in plan.folds? then run `dvc repro`")
    card = read_object(folder / CARD, description=dict, fingerprint=str, run=dict, checksum=str)
    base = card.get(BASE, {})
    if not isinstance(base, dict) or not all(isinstance(entry, dict) for entry in base.values()):
        raise damaged(folder / CARD, f"its {BASE!r} has no entry for each tower")
    return card


def own_weights(folder: Path, card: dict[str, Any]) -> State:
    """Return the tensors of a saved model's file; ValueError if it is damaged, by the checksum in the card."""
    check_sum(folder / WEIGHTS, card[CHECKSUM])
    return read_weights(folder / WEIGHTS)


def read_state(folder: Path, towers: Sequence[str] = TOWERS, root: Path = Path(), checked: bool = True) -> State:
    """Return a saved model's tensors: those of its file, and those that the given towers share with their base.

    Relative paths of the base are below `root`. ValueError if a file is missing or damaged, or the base has changed. A
    file of which few tensors are used, by a search, is not `checked`: that would take longer than reading them.
    """
    card = read_card(folder)
    state = own_weights(folder, card) if checked else read_weights(folder / WEIGHTS)
    shared = base_tensors(folder, card.get(BASE, {}), towers, root)
    if both := sorted(state.keys() & shared.keys()):
        raise ValueError(f"{folder / WEIGHTS}: does not fit the card beside it, e.g. {both[0]}; copy the folder again")
    return shared | state


def load_without_towers(folder: Path, dims: dict[str, int]) -> SavedModel:
    """Load the heads of a model in evaluation mode, for stored features of these widths; its base is not read.

    Raises ValueError as `load_model`.
    """
    card = read_card(folder)
    with reading(folder / CARD), uninitialised():
        model = ImageTextModel(card["description"], dims)
    towers = tuple(f"{tower}." for tower in TOWERS)
    state = {name: value for name, value in own_weights(folder, card).items() if not name.startswith(towers)}
    load_strictly(model, state, str(folder / WEIGHTS))
    return SavedModel(model.eval(), card)


def load_model(folder: Path) -> SavedModel:
    """Load a model in evaluation mode; ValueError if it is missing or its weights do not match its card."""
    card = read_card(folder)
    with reading(folder / CARD), uninitialised():
        model = build_model(card["description"])
    load_strictly(model, read_state(folder), str(folder / WEIGHTS))
    return SavedModel(model.eval(), card)

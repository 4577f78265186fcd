"""The base of a trained model: the weights that `model` names, which its towers had before any training.

A layer that no epoch trained has the values of its base. Its tensors are not saved again with each fold and each
experiment: the card names the base and a hash of them. Reading the model takes them from the base's file, or, where a
library changes tensors as it loads them, from what the base's settings are resolved to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline_lib.params.model import ImageTowerParams, ModelParams, TextTowerParams, UntrainedImage, UntrainedText
from pipeline_lib.towers.file_tensors import FileTensors, Tensors
from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.towers.weights import State, weights_hash

# A tower of which less is equal to its base (counters, tables of positions) is saved whole: a model that needs no other
# file is worth more.
MIN_SHARE = 0.01
# Keys of a tower's settings that may be paths.
PATHS = ("name", "weights", "tokenizer")

# Tower -> {weights: their origin, params, fusion: what it is resolved from, hash: that of the tensors, tensors: name ->
# key in the file, file: its path, null if it has not all of them as they are}.
BaseCard = dict[str, dict[str, Any]]


class OtherBaseError(ValueError):
    """The base of a trained model is missing, or has other weights than the model was trained from."""


@dataclass(frozen=True)
class BaseWeights:
    """The settings of both towers before training, and what they are resolved to."""

    params: ModelParams
    sources: Mapping[str, TowerSource]


def split_base(state: State, base: BaseWeights, heads_alone: bool = False) -> tuple[State, BaseCard]:
    """Return the tensors of a model's state that its base lacks or has with other values, and the card of the others.

    The card has only towers of which MIN_SHARE or more is equal to the base, bit by bit; it may be empty. The state of
    `heads_alone` has no towers: they are those of the base.
    """
    card: BaseCard = {}
    for tower, source in base.sources.items():
        weights = source.state or {}
        equal = list(weights) if heads_alone else _equal_names(state, tower, weights)
        if not equal:
            continue
        file = _file_of(source.weights)
        keys = _keys_in_file(file, weights, equal) if file is not None else None
        card[tower] = {
            "params": getattr(base.params, tower).model_dump(),
            "fusion": base.params.fusion,
            "weights": source.weights,
            "hash": _hash_of(source, equal),
            "file": file.as_posix() if file is not None and keys is not None else None,
            "tensors": keys or dict.fromkeys(equal),
        }
    left_out = {f"{tower}.{key}" for tower, entry in card.items() for key in entry["tensors"]}
    return {key: value for key, value in state.items() if key not in left_out}, card


def _equal_names(state: State, tower: str, weights: Tensors) -> list[str]:
    """Return the names of a base's tensors that a tower still has; none if that is less than MIN_SHARE of it."""
    equal = [key for key, value in weights.items() if _same_bits(state.get(f"{tower}.{key}"), _as_saved(value))]
    total = sum(value.nbytes for key, value in state.items() if key.startswith(f"{tower}."))
    return equal if sum(state[f"{tower}.{key}"].nbytes for key in equal) >= MIN_SHARE * total else []


def _hash_of(source: TowerSource, names: Sequence[str]) -> str | None:
    """Return the hash of a base's named tensors; that of all of them is known by now."""
    weights = source.state or {}
    if len(names) == len(weights):
        return source.state_hash
    return weights_hash({name: _as_saved(weights[name]) for name in names})


def base_tensors(folder: Path, card: BaseCard, towers: Iterable[str], root: Path) -> State:
    """Return the tensors that a saved model in `folder` shares with the base of some towers, by their names in it.

    Relative paths of the settings are below `root`. OtherBaseError if the base is missing or has changed.
    """
    tensors: State = {}
    for tower in towers:
        if tower in card:
            tensors |= {f"{tower}.{key}": value for key, value in _read(folder, tower, card[tower], root).items()}
    return tensors


def base_paths(card: BaseCard) -> list[Path]:
    """Return the paths below the project that the settings of a base may name; a model's name looks like one, too."""
    paths = {Path(entry["params"].get(key) or "") for entry in card.values() for key in PATHS}
    return sorted(path for path in paths if path.parts and not path.is_absolute() and ".." not in path.parts)


def _read(folder: Path, tower: str, entry: dict[str, Any], root: Path) -> State:
    """Return the tensors that an entry of a card names; OtherBaseError for a fault or another hash."""
    start = f"{folder}: the weights that its {tower} tower shares with {entry['weights']}"
    ways = "put the old ones back (`dvc checkout`), or train the model again (`dvc repro`)"
    try:
        state = _from_file(entry, root) if entry["file"] else _resolved(tower, entry, root)
        shared = {key: _as_saved(state[key]) for key in entry["tensors"]}
    except (ValueError, OSError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise OtherBaseError(f"{start} cannot be read ({' '.join(str(error).split())}); {ways}") from error
    if (found := weights_hash(shared)) != entry["hash"]:
        raise OtherBaseError(f"{start} had the hash {entry['hash']}, now it is {found}; {ways}")
    return shared


def _from_file(entry: dict[str, Any], root: Path) -> State:
    with safe_open(_located(entry["file"], root), "pt") as file:
        return {name: file.get_tensor(key) for name, key in entry["tensors"].items()}


def _resolved(tower: str, entry: dict[str, Any], root: Path) -> Tensors:
    params = {key: _located(value, root) if key in PATHS else value for key, value in entry["params"].items()}
    if tower == "image":
        source = resolve_image_tower(UntrainedImage(ImageTowerParams.model_validate(params), entry["fusion"]))
    else:
        source = resolve_text_tower(UntrainedText(TextTowerParams.model_validate(params), entry["fusion"]))
    return source.state or {}


def _file_of(weights: str | None) -> Path | None:
    """Return the .safetensors file that a tower's weights are from, None for a hub or another format."""
    path = Path(weights or "")
    path = path / "model.safetensors" if path.is_dir() else path
    return path if path.suffix == ".safetensors" and path.is_file() else None


def _keys_in_file(path: Path, weights: Tensors, names: Sequence[str]) -> dict[str, str] | None:
    """Return each named tensor's key in a file, None if the file lacks one of them or has another value.

    Tensors that are read from this file have it. Of others it is the name in the tower without its first part, perhaps
    after the name of a larger model.
    """
    if isinstance(weights, FileTensors) and all(weights.places[name][0] == path for name in names):
        return {name: weights.places[name][1] for name in names}
    keys = {}
    with safe_open(path, "pt") as file:
        known = list(file.keys())
        for name in names:
            value = _as_saved(weights[name])
            short = name.partition(".")[2]
            likely = [key for key in known if key in (name, short) or key.endswith(f".{short}")]
            key = next((key for key in likely if _same_bits(_as_saved(file.get_tensor(key)), value)), None)
            if key is None:
                return None
            keys[name] = key
    return keys


def _located(value: str | None, root: Path) -> str | None:
    return str(root / value) if value and (root / value).exists() else value


def _as_saved(value: Tensor) -> Tensor:
    """Return a published tensor in the format of a tower, which is built in float32; whole numbers keep theirs."""
    return value.float() if value.is_floating_point() else value


def _same_bits(one: Tensor | None, other: Tensor) -> bool:
    """Return whether two tensors have the same bits, also those of NaN and of a negative zero."""
    if one is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    first, second = (value.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for value in (one, other))
    return torch.equal(first, second)

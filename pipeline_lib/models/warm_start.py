"""Starting from a trained model instead of published weights: strict about everything that does not match.

The folder is what the train stage writes. Its towers stand in for the weights that `model` names, so the plan table,
the checks and the fingerprints of a run see them as they see any other weights.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import CARD, WEIGHTS, read_card
from pipeline_lib.models.towers import TowerSource, read_weights

State = dict[str, Tensor]


def start_folder(init_from: str, fold: int) -> Path | None:
    """Return the folder that one fold starts from, its own if there is one, or None if `init_from` is empty.

    Raises ValueError if it holds something else than trained models, or none for this fold.
    """
    root = Path(init_from)
    if not root.is_dir():
        raise ValueError(f"train.init_from = {init_from!r}: no such folder; `vitrine keep EXPERIMENT NAME` makes one")
    held = sorted(path.name for path in root.iterdir() if path.name not in (".gitkeep", ".gitignore"))
    if not held:
        return None
    folder = root / str(fold) if (root / str(fold)).is_dir() else root
    for name in (WEIGHTS, CARD):
        if not (folder / name).is_file():
            raise ValueError(
                f"train.init_from: {folder / name} is missing for fold {fold}; {init_from} holds {', '.join(held)}. "
                "`vitrine keep EXPERIMENT NAME` makes a whole one"
            )
    return folder


def warm_sources(sources: dict[str, TowerSource], folder: Path) -> dict[str, TowerSource]:
    """Return the towers' sources with the weights of a trained model; a later strict load tells what does not fit."""
    state = read_weights(folder / WEIGHTS)
    # A trained model has weights for the parts that are new to published ones, too.
    return {
        name: replace(source, weights=str(folder), state=_below(state, f"{name}."), new=())
        for name, source in sources.items()
    }


def load_heads(model: ImageTextModel, folder: Path) -> None:
    """Fill all that lies in no tower; ValueError names a head that only one of the two has, or that has another shape.

    A classifier of other classes is refused as well, be they as many: its rows would mean other things.
    """
    inside = tuple(f"{name}." for name in model.towers())
    state = {name: value for name, value in read_weights(folder / WEIGHTS).items() if not name.startswith(inside)}
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(inside)}
    faults = [f"{name} is not in the start" for name in sorted(own.keys() - state.keys())]
    faults += [f"{name} is not in this model" for name in sorted(state.keys() - own.keys())]
    faults += [
        f"{name} is {tuple(state[name].shape)} in the start and {tuple(own[name].shape)} here"
        for name in sorted(own.keys() & state.keys())
        if own[name].shape != state[name].shape
    ]
    theirs, ours = read_card(folder)["description"]["classes"], model.description["classes"]
    if theirs and ours and theirs != ours:
        only = sorted(set(theirs) ^ set(ours))
        faults.insert(0, f"its {len(theirs)} classes are not the {len(ours)} here, {only[0]!r} is in one of them alone")
    if faults:
        raise ValueError(
            f"train.init_from: the heads of {folder} do not fit: {faults[0]}"
            + (f" and {len(faults) - 1} more" if len(faults) > 1 else "")
            + "; set train.init_heads = false to take the towers alone"
        )
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

"""Warm start: a run that starts from a trained model instead of published weights. Any mismatch is an error.

The folder is an output of the train stage. Its towers replace the weights named in `model`, so the trainable report,
the checks and the fingerprints of a run treat them like any other weights.
"""

from dataclasses import replace
from pathlib import Path

import torch

from pipeline_lib.artifacts.messages import only_in
from pipeline_lib.models.frame_pooling import has_frames, without_frames
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import CARD, WEIGHTS, read_card, read_state
from pipeline_lib.splitting.seen import model_folder
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.towers.weights import State


def start_folder(init_from: str, fold: int) -> Path | None:
    """Return the folder of the model that a fold starts from: the fold's subfolder if there is one, else `init_from`.

    None if `init_from` is empty; ValueError if it has no trained model for this fold.
    """
    root = Path(init_from)
    if not root.is_dir():
        raise ValueError(f"train.init_from = {init_from!r}: no such folder; `vitrine keep EXPERIMENT NAME` creates one")
    files = sorted(path.name for path in root.iterdir() if path.name not in (".gitkeep", ".gitignore"))
    if not files:
        return None
    folder = model_folder(root, fold)
    for name in (WEIGHTS, CARD):
        if not (folder / name).is_file():
            raise ValueError(
                f"train.init_from: {folder / name} is missing for fold {fold}; {init_from} holds {', '.join(files)}. "
                "`vitrine keep EXPERIMENT NAME` creates a complete folder"
            )
    return folder


def warm_sources(sources: dict[str, TowerSource], folder: Path) -> dict[str, TowerSource]:
    """Return the towers' sources with the weights of a trained model; loading them later checks that they match."""
    state = read_state(folder)
    # A trained model also has weights for the parts that published weights lack.
    return {
        name: replace(source, weights=str(folder), state=_strip_prefix(state, f"{name}."), new=())
        for name, source in sources.items()
    }


def load_heads(model: ImageTextModel, folder: Path) -> None:
    """Load the weights outside the towers; ValueError for a head that only one model has, or of another shape.

    A classifier of other classes is an error too, even if their number is equal. A frame pooling may be missing in the
    start: a new one gives the mean of the photos, as the start does.
    """
    state, own = heads_of(model, read_state(folder, ())), heads_of(model, model.state_dict())
    if not has_frames(state):
        own = without_frames(own)
    faults = [f"{name} is not in the start" for name in sorted(own.keys() - state.keys())]
    faults += [f"{name} is not in this model" for name in sorted(state.keys() - own.keys())]
    faults += [
        f"{name} is {tuple(state[name].shape)} in the start and {tuple(own[name].shape)} here"
        for name in sorted(own.keys() & state.keys())
        if own[name].shape != state[name].shape
    ]
    theirs, ours = read_card(folder)["description"]["classes"], model.description["classes"]
    if theirs and ours and theirs != ours:
        # Tensors of the classifier that have another shape follow from it.
        different = only_in(theirs, ours, ("in the start", "here"))
        faults = [f"its {len(theirs)} classes are not the {len(ours)} here: {different or 'their order differs'}"]
    if faults:
        raise ValueError(
            f"train.init_from: the heads of {folder} do not match: {faults[0]}"
            + (f" and {len(faults) - 1} more" if len(faults) > 1 else "")
            + "; set train.init_heads = false to load only the towers"
        )
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def heads_of(model: ImageTextModel, state: State) -> State:
    """Return the tensors of a state that are outside the model's towers."""
    towers = tuple(f"{name}." for name in model.towers())
    return {name: value for name, value in state.items() if not name.startswith(towers)}


def _strip_prefix(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

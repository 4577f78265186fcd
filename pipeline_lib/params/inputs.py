"""Checks the paths in params.yaml: whatever a stage reads lies in a folder that DVC hashes for it.

So are those that the files of a model name themselves. Files inside data.root are checked where they are opened
(`inner_file`), because data names them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.path_guard import check_hashed
from pipeline_lib.artifacts.paths import JUDGEMENTS, STARTS
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.ensemble import EnsembleParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.named_files import image_sizes, leaves, names_in_cards, names_in_model
from pipeline_lib.params.phases import PhasesParams
from pipeline_lib.params.plan import PlanParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.train import TrainParams

# A teacher that is a published pair of towers: a file in data/starts/NAME with keys of the section `model`.
PAIR = "model.yaml"
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")
LOCAL_FOLDER = "local-dir:"  # of timm and open_clip
WAY = "put it there, or set model.weights_root to a folder that has all local weights"


def check_inputs(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError for a path of params.yaml, `path`, that leads out of the folders that stages depend on."""
    model = parse_section(ModelParams, dict(params))
    weights_root = path.parent / model.weights_root
    for key, name in _model_names(model.model_dump()):
        check_local(weights_root, path.parent, f"{path}: {key}", name)
    plan = parse_section(PlanParams, dict(params))
    q_former = parse_section(ComposedParams, dict(params)).q_former
    if "q_former" in plan.composed:
        for key, value in (("weights", q_former.weights), ("tokenizer", q_former.tokenizer)):
            check_local(weights_root, path.parent, f"{path}: composed.q_former.{key}", value)
    train = parse_section(TrainParams, dict(params))
    for phase, changes in parse_section(PhasesParams, dict(params)).model_dump().items():
        if changes.get("init_from", train.init_from) != train.init_from:
            raise ValueError(
                f"{path}: phases.{phase}.init_from = {changes['init_from']!r}: the stages depend on train.init_from "
                f"alone, which is {train.init_from!r}; set that"
            )
    folders: dict[str, str | Path] = {
        "train.init_from": train.init_from,
        "ensemble.fuse_with": parse_section(EnsembleParams, dict(params)).fuse_with,
        **({"plan.judged": JUDGEMENTS} if plan.judged else {}),
        **{f"plan.teachers: {name}": STARTS / name for name in plan.teachers},
    }
    for key, folder in folders.items():
        check_hashed(path.parent / folder, path.parent / folder, f"{path}: {key}")
        if key != "plan.judged":
            _check_named(weights_root, path.parent, f"{path}: {key}", names_in_cards(path.parent / folder))
    for name in plan.teachers:
        pair = path.parent / STARTS / name / PAIR
        if pair.is_file():
            check_pair(load_params(pair), pair, weights_root, path.parent)


def check_pair(model: Mapping[str, Any], pair: Path, weights_root: Path, project: Path = Path()) -> None:
    """Raise ValueError if a model.yaml names a file outside `weights_root` and its own folder: the teacher's deps."""
    for key, name in _model_names(model):
        inside = pair.parent if isinstance(name, str) and _lies_in(project / name, pair.parent) else weights_root
        check_local(inside, project, f"{pair}: {key}", name)


def teacher_size(folder: Path) -> int:
    """Return the size in pixels at which a teacher reads photos, the largest of its models'; 0 if no file names one."""
    pair = folder / PAIR
    image = load_params(pair).get("image") if pair.is_file() else None
    named = image.get("size") if isinstance(image, Mapping) else None
    return max([*image_sizes(folder), named if isinstance(named, int) else 0])


def check_local(weights_root: Path, project: Path, what: str, name: object) -> None:
    """Raise ValueError if a name is that of a file or folder on this machine that is not below `weights_root`.

    Names of a hub, of an architecture or of published weights pass, and so does what is no text.
    """
    if not isinstance(name, str) or not name:
        return
    local = name.removeprefix(LOCAL_FOLDER)
    named_as_path = local != name or name.startswith((".", "/", "~")) or name.endswith(WEIGHT_FILES)
    if named_as_path or os.path.exists(project / local):  # noqa: PTH110 - False for a name that no file can have
        check_hashed(weights_root, project / local, f"{what} = {name!r}", WAY)
        _check_named(weights_root, project, f"{what} = {name!r}", names_in_model(project / local))


def _check_named(weights_root: Path, project: Path, what: str, names: Iterable[tuple[Path, str, str]]) -> None:
    """Raise ValueError if a name in a file of a model is that of a file or folder that is not below `weights_root`.

    Parts of an index are named from its folder, other models from the working folder.
    """
    for file, key, name in names:
        for start in (file.parent, project):
            if os.path.exists(start / name):  # noqa: PTH110 - False for a name that no file can have
                check_hashed(weights_root, start / name, f"{what}: {file}: {key} = {name!r}", WAY)


def _model_names(model: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the key and the value of each setting of `model` that may be a path."""
    for tower in ("image", "text"):
        own = model.get(tower)
        if isinstance(own, Mapping):
            for key in ("name", "weights", "tokenizer"):
                yield f"model.{tower}.{key}", own.get(key)
            for key in ("args", "config"):  # of the libraries, which may have paths of their own
                yield from leaves(f"model.{tower}.{key}", own.get(key))


def _lies_in(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())

"""Config and weights of an open_clip model, from its name, a config file, a folder, or the hub.

A checkpoint has the weights of both towers. The further prefixes of TinyCLIP's checkpoints are removed. A key that
belongs to neither tower is an error.
"""

import difflib
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from torch import Tensor

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.model import ImageTowerParams, TextTowerParams
from pipeline_lib.towers.clip_models import CLIP_MODELS, CLIP_PREPROCESSING
from pipeline_lib.towers.file_tensors import FileTensors, Tensors, rename_tensors
from pipeline_lib.towers.hf_clip import CONFIG, open_clip_names, read_hf_clip
from pipeline_lib.towers.open_clip_preprocessing import DEFAULTS, Preprocessing, agreed, stated
from pipeline_lib.towers.tower import check_pretrained, local_folder

FOLDER_CONFIG = "open_clip_config.json"
FOLDER_WEIGHTS = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
HUB = "hf-hub:"
# Prefixes of TinyCLIP's checkpoints -> open_clip's.
TINY_CLIP = (("_image_encoder.visual.", "visual."), ("_text_encoder.", "text."), ("_logit_scale.", ""))
TEXT_PARTS = ("positional_embedding", "token_embedding.", "transformer.", "ln_final.", "text_projection", "cls_emb")
# Keys of no tower: those of the similarities, and three numbers in OpenAI's files.
SCALES = ("logit_scale", "logit_bias")
OTHER_KEYS = (*SCALES, "input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class ClipModel:
    """An open_clip model: parts of its config, preprocessing, and the file of its weights (None for random ones)."""

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    quick_gelu: bool
    preprocessing: Preprocessing
    weights: Path | None


def find_clip_model(section: str, params: ImageTowerParams | TextTowerParams) -> ClipModel:
    """Return the model that `model.image` or `model.text` names; ValueError for an unknown name, tag or file."""
    check_pretrained(section, params.pretrained, params.weights)
    config, preprocess_cfg = _find_config(section, params.name)
    tag: dict[str, Any] = {}
    weights = None
    if params.pretrained:
        tag = open_clip.get_pretrained_cfg(params.name, params.weights) if params.weights else {}
        weights = _download(section, params.weights, tag) if tag else _file(section, params.name, params.weights)
    # The tag decides which GELU its weights were trained with.
    quick_gelu = bool(tag.get("quick_gelu", False) if tag else config.get("quick_gelu", False))
    own = {key: value for key in DEFAULTS if (value := getattr(params, key, None)) is not None}
    from_file = weights is not None and not tag and params.name in open_clip.list_models()
    if from_file and isinstance(params, ImageTowerParams):
        preprocessing = agreed(params.name, quick_gelu, own)
    else:
        preprocessing = stated({**preprocess_cfg, **tag}, own)
    return ClipModel(
        embed_dim=int(config["embed_dim"]),
        vision=dict(config["vision_cfg"]),
        text=dict(config["text_cfg"]),
        quick_gelu=quick_gelu,
        preprocessing=preprocessing,
        weights=weights,
    )


def with_config_changes(section: str, config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a vision_cfg or text_cfg with changes; ValueError for a key that open_clip does not know."""
    kind = CLIPVisionCfg if section == "model.image.args" else CLIPTextCfg
    known = {field.name for field in fields(kind)}
    unknown = [key for key in changes if key not in known]
    if unknown:
        similar = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(sorted(known))}"
        raise ValueError(f"{section}.{unknown[0]}: open_clip's {kind.__name__} has no such key; {hint}")
    return {**config, **changes}


def _find_config(section: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's config and its preprocessing."""
    if name in CLIP_MODELS:
        return deepcopy(CLIP_MODELS[name]), dict(CLIP_PREPROCESSING)
    path = Path(name)
    if name.endswith(".json"):
        if not path.is_file():
            raise ValueError(f"{section}.name = {name!r}: no such config file")
        return _parts(section, name, read_object(path))
    folder = None if name.startswith(HUB) else local_folder(name)
    if folder:
        if not (folder / FOLDER_CONFIG).is_file():
            if not (folder / CONFIG).is_file():
                raise ValueError(f"{section}.name = {name!r}: the folder has no {FOLDER_CONFIG}, and no {CONFIG}")
            return read_hf_clip(folder)
        return _parts(section, name, read_object(folder / FOLDER_CONFIG))
    if name.startswith(HUB):
        return _parts(section, name, read_object(Path(_from_hub(section, name, FOLDER_CONFIG))))
    config = open_clip.get_model_config(name)
    if config is None:
        similar = difflib.get_close_matches(name, [*CLIP_MODELS, *open_clip.list_models()], n=3)
        hint = f"similar: {', '.join(similar)}" if similar else "see open_clip.list_models()"
        raise ValueError(f"{section}.name = {name!r}: open_clip has no such model; {hint}")
    return _parts(section, name, config)


def _parts(section: str, name: str, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    model = config.get("model_cfg", config)
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model]
    if missing:
        raise ValueError(f"{section}.name = {name!r}: the config has no {missing[0]}")
    return model, config.get("preprocess_cfg", {})


def _file(section: str, name: str, weights: str | None) -> Path:
    if weights is None and name.startswith(HUB):
        return Path(_from_hub(section, name, None))
    if weights is None:
        files = [Path(name) / file for file in FOLDER_WEIGHTS if (Path(name) / file).is_file()]
        if files:
            return files[0]
    elif weights.endswith(SUFFIXES):
        if Path(weights).is_file():
            return Path(weights)
        raise ValueError(f"{section}.weights = {weights!r}: no such file")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    raise ValueError(
        f"{section}.weights = {weights!r}: set it to a file ({', '.join(SUFFIXES)}) or a tag of {name} (known: {tags}),"
        f" or set {section}.pretrained = false"
    )


def _download(section: str, weights: str | None, tag: dict[str, Any]) -> Path:
    try:
        return Path(download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{section}.weights = {weights!r}: cannot download the tag's weights ({first_line})"
        ) from error


def _from_hub(section: str, name: str, file: str | None) -> str:
    try:
        return str(download_pretrained_from_hf(name.removeprefix(HUB), filename=file))
    except (OSError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ValueError(f"{section}.name = {name!r}: cannot download it from the hub ({first_line})") from error


@dataclass(frozen=True)
class Checkpoint:
    """Weights of both towers by open_clip's names, and the checkpoint's `scales`: logit_scale (its log), logit_bias."""

    towers: dict[str, Tensors]
    scales: dict[str, float]


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the weights in a checkpoint.

    ValueError for a file that is not a state dict of tensors, or that has a key of neither tower.
    """
    state = _state(path)
    named = {_open_clip_key(key): key for key in state}
    scales = {key: float(state[named[key]]) for key in SCALES if key in named}
    return Checkpoint(split_checkpoint(state, str(path)), scales)


def _state(path: Path) -> Tensors:
    if path.suffix == ".safetensors":
        tensors = FileTensors.of([path])
        if not tensors:
            raise ValueError(f"{path}: no tensors in it")
        return open_clip_names(tensors)
    state: Any
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise different classes
        raise ValueError(f"{path}: cannot read it with weights_only ({str(error).splitlines()[0]})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: no state dict of tensors, nor one under the key state_dict")
    return open_clip_names(state)


def split_checkpoint(state: Tensors, origin: str) -> dict[str, Tensors]:
    """Return a model's weights by tower, without known prefixes; ValueError for a key of neither tower."""
    towers: dict[str, dict[str, str]] = {"image": {}, "text": {}}
    unknown = []
    for key in state:
        name = _open_clip_key(key)
        if name.startswith("visual."):
            towers["image"][name.removeprefix("visual.")] = key
        elif name.startswith(("text.", *TEXT_PARTS)):
            towers["text"][name.removeprefix("text.")] = key
        elif name not in OTHER_KEYS:
            unknown.append(key)
    if unknown:
        raise ValueError(f"{origin}: {len(unknown)} keys of neither tower, e.g. {sorted(unknown)[0]}")
    for name, keys in towers.items():
        if not keys:
            raise ValueError(f"{origin}: no weights of the {name} tower")
    return {name: rename_tensors(state, keys) for name, keys in towers.items()}


def _open_clip_key(key: str) -> str:
    """Return open_clip's name of a checkpoint's key.

    >>> _open_clip_key("module._image_encoder.module.visual.conv1.weight"), _open_clip_key("module.logit_scale")
    ('visual.conv1.weight', 'logit_scale')
    """
    name = ".".join(part for part in key.split(".") if part != "module")
    for prefix, ours in TINY_CLIP:
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name

"""Config and tensors of BLIP-2's image tower: of a model of transformers, or of a file in LAVIS's names.

Both come by the names of transformers' Blip2VisionModel.
"""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import Blip2VisionConfig
from transformers.utils.hub import cached_file

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.towers.file_tensors import FileTensors, Tensors, rename_tensors
from pipeline_lib.towers.lavis_file import read_lavis
from pipeline_lib.towers.tower import Description, local_folder
from pipeline_lib.towers.weights import State, index_parts

PREFIX = "vision_model."
# LAVIS's names -> those of transformers, in turn; the biases of query and value become one (`_joined_biases`).
LAVIS = (
    (r"^visual_encoder\.blocks\.", "encoder.layers."),
    (r"^visual_encoder\.cls_token$", "embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^ln_vision\.", "post_layernorm."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"\.attn\.", ".self_attn."),
)
SETTINGS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
            "hidden_act", "layer_norm_eps", "qkv_bias")  # fmt: skip
EVA_HEAD = 88  # channels of a head of EVA-g, which shapes do not tell


def changed_config(config: Description, changes: Description) -> Description:
    """Return a config with the values of model.image.args; ValueError for a key that it does not have."""
    unknown = next((key for key in changes if key not in SETTINGS), None)
    if unknown is not None:
        raise ValueError(f"model.image.args.{unknown}: a blip2 tower has {', '.join(SETTINGS)}")
    return {**config, **changes}


def default_config() -> Description:
    """Return the config of BLIP-2's EVA-g."""
    return _settings(Blip2VisionConfig().to_dict())


def _settings(config: dict[str, Any]) -> Description:
    return {key: config[key] for key in SETTINGS}


def _path_of(name: str, file: str, needed: bool = True) -> Path | None:
    try:
        found = cached_file(str(local_folder(name) or name), file, _raise_exceptions_for_missing_entries=needed)
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"model.image.name = {name!r}: no BLIP-2 model here nor on the hub ({first})") from error
    return None if found is None else Path(found)


def published_config(name: str) -> Description:
    """Return the config of the tower of a BLIP-2 model, by folder or hub name; ValueError if there is none."""
    path = _path_of(name, "config.json")
    assert path is not None, "a needed file is there or an error"
    content = read_object(path)
    vision = content.get("vision_config", content if content.get("model_type") == "blip_2_vision_model" else None)
    if not isinstance(vision, dict):
        raise ValueError(f"model.image.name = {name!r}: {path.name} has no vision_config; name a BLIP-2 model")
    return _settings(Blip2VisionConfig(**{key: vision[key] for key in SETTINGS if key in vision}).to_dict())


def published_tower(name: str) -> Tensors:
    """Return the tower's tensors of a BLIP-2 model, unread, without those of its other parts."""
    index = _path_of(name, "model.safetensors.index.json", needed=False)
    files = index_parts(index, lambda key: key.startswith(PREFIX)) if index else []
    paths = [path for file in files or ["model.safetensors"] if (path := _path_of(name, file))]
    tensors = FileTensors.of(paths, as_float32=True)
    own = {key.removeprefix(PREFIX): key for key in tensors if key.startswith(PREFIX)}
    if not own:  # the tower alone
        own = {key: key for key in tensors}
    return rename_tensors(tensors, own)


def lavis_tower(path: Path) -> Tensors:
    """Return the tower's tensors of a file in LAVIS's names by the names of transformers.

    ValueError for another file, and for one of a Q-Former alone.
    """
    own: State = {}
    for key, value in read_lavis(path, "model.image.weights").items():
        name = key.removeprefix("module.")
        if name.startswith(("visual_encoder.", "ln_vision.")):
            for pattern, ours in LAVIS:
                name = re.sub(pattern, ours, name)
            own[name] = value
    if "embeddings.position_embedding" not in own or "post_layernorm.weight" not in own:
        raise ValueError(
            f"model.image.weights = {str(path)!r}: no visual_encoder and ln_vision here; it must be a file of LAVIS's "
            "blip2 or of SPRC with its image tower"
        )
    return _joined_biases(own)


def _joined_biases(state: State) -> State:
    """Return the tensors with [q_bias, 0, v_bias] as qkv.bias: EVA's keys have no bias."""
    joined = {name: value for name, value in state.items() if not name.endswith((".q_bias", ".v_bias"))}
    for name, query in state.items():
        if name.endswith(".q_bias"):
            value = state[name.removesuffix("q_bias") + "v_bias"]
            joined[name.removesuffix("q_bias") + "qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return joined


def config_of_tensors(state: Tensors) -> Description:
    """Return the config that the shapes of the tensors give; heads have EVA_HEAD channels."""
    width, *_, patch = state["embeddings.patch_embedding.weight"].shape
    side = round((state["embeddings.position_embedding"].shape[1] - 1) ** 0.5)
    layers = {int(found[1]) for name in state if (found := re.match(r"encoder\.layers\.(\d+)\.", name))}
    first = "encoder.layers.0."
    return default_config() | {
        "hidden_size": width,
        "intermediate_size": state[f"{first}mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // EVA_HEAD),
        "image_size": side * patch,
        "patch_size": patch,
        "qkv_bias": f"{first}self_attn.qkv.bias" in state,
    }

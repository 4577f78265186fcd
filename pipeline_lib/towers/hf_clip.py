"""Folders of transformers' CLIP and Chinese-CLIP as open_clip models: config, preprocessing and names of weights.

Both libraries have the same architecture, so such a pair keeps its projections and its scale. Chinese-CLIP's text tower
is a BERT, as open_clip's models with a text tower of transformers have. SigLIP's text tower reads padding, which no
tower here does.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.towers.file_tensors import Tensors
from pipeline_lib.transforms.tokenize import VOCABULARIES

CONFIG, PREPROCESSING, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
CLIP, CHINESE_CLIP = "clip", "chinese_clip"
MODEL_TYPES = (CLIP, CHINESE_CLIP)
CLIP_VOCABULARY = 49408  # of the tokenizer that is part of open_clip
PLACEHOLDER_END = 2  # eos_token_id of CLIP's first configs; transformers then pools texts at their highest token id
GELUS = {"quick_gelu": True, "gelu": False}
FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
EPS = 1e-5  # of the norms, by default in open_clip
# transformers' names of parameters -> open_clip's; those of a transformer's layer hold for both towers.
NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_model.final_layer_norm.": "ln_final.",
}
LAYER_NAMES = {
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}
QUERY = re.compile(r"(.+)\.self_attn\.q_proj\.(weight|bias)")
IS_BERT = "text_model.embeddings.word_embeddings.weight"


def read_hf_clip(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config in open_clip's format and the preprocessing of a folder; ValueError for another model."""
    kind = read_object(folder / CONFIG).get("model_type")
    if kind not in MODEL_TYPES:
        raise ValueError(
            f"{folder}: its {CONFIG} is of model type {kind!r}, no {' or '.join(MODEL_TYPES)}; take the same weights "
            "in open_clip's format (open_clip_config.json)"
        )
    from transformers import AutoConfig  # slow import

    # Published files leave out what is the default of their class.
    config = AutoConfig.from_pretrained(folder)
    vision, text = config.vision_config.to_dict(), config.text_config.to_dict()
    acts = {vision["hidden_act"]} | ({text["hidden_act"]} if kind == CLIP else set())
    if len(acts) > 1 or not acts <= GELUS.keys():
        raise ValueError(f"{folder / CONFIG}: hidden_act = {' and '.join(sorted(acts))}: open_clip has no such model")
    tokenizer = any((folder / name).is_file() for name in VOCABULARIES) or text["vocab_size"] != CLIP_VOCABULARY
    named = {"hf_tokenizer_name": str(folder)} if tokenizer else {}
    end = text.get("eos_token_id")
    pool = {"pool_type": "eos", "eos_id": end} if tokenizer and end != PLACEHOLDER_END else {}
    model = {
        "embed_dim": int(config.projection_dim),
        "quick_gelu": GELUS[acts.pop()],
        "vision_cfg": {
            **_transformer(vision),
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
        "text_cfg": {
            **_transformer(text),
            **named,
            **pool,
            "heads": text["num_attention_heads"],
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
        },
    }
    if kind == CHINESE_CLIP:
        pooling = {"hf_pooler_type": "cls_last_hidden_state_pooler", "hf_proj_type": "linear"}
        model["text_cfg"] = {"hf_model_name": str(folder), **named, **pooling}
    return model, _preprocessing(folder)


def _transformer(config: dict[str, Any]) -> dict[str, Any]:
    width, eps = config["hidden_size"], config["layer_norm_eps"]
    shape = {"width": width, "layers": config["num_hidden_layers"], "mlp_ratio": config["intermediate_size"] / width}
    return shape | ({} if eps == EPS else {"norm_kwargs": {"eps": eps}})


def _preprocessing(folder: Path) -> dict[str, Any]:
    """Return the preprocessing in open_clip's format; empty if the folder states none."""
    if (folder / PREPROCESSING).is_file():
        stated = read_object(folder / PREPROCESSING)
    elif (folder / PROCESSOR).is_file():
        stated = read_object(folder / PROCESSOR).get("image_processor", {})
    else:
        return {}
    size, filter_number = stated.get("size"), stated.get("resample", 3)
    squashed = isinstance(size, dict) and "height" in size
    return {
        "mean": stated.get("image_mean"),
        "std": stated.get("image_std"),
        "resize_mode": "squash" if squashed else "shortest",
        "interpolation": FILTERS.get(filter_number, f"Pillow's {filter_number}"),
    }


def bert_of(folder: Path) -> Any:
    """Return the config of Chinese-CLIP's text tower as that of the BERT that it is; None for any other folder."""
    if not (folder / CONFIG).is_file() or read_object(folder / CONFIG).get("model_type") != CHINESE_CLIP:
        return None
    from transformers import AutoConfig, BertConfig  # slow import

    text = AutoConfig.from_pretrained(folder).text_config.to_dict()
    return BertConfig(**{key: value for key, value in text.items() if key != "model_type"})


def open_clip_names(state: Tensors) -> Tensors:
    """Return the weights of a model of transformers by open_clip's names; any others unchanged, and not read."""
    if not any(name.startswith("vision_model.") for name in state):
        return state
    is_bert = IS_BERT in state
    named: dict[str, Tensor] = {}
    for name, value in state.items():
        joined = QUERY.fullmatch(name)
        if name.endswith(".position_ids"):  # a buffer of older versions
            continue
        if name == "visual_projection.weight":
            named["visual.proj"] = value.T.contiguous()
        elif name == "text_projection.weight":
            named |= {"text.proj.weight": value} if is_bert else {"text_projection": value.T.contiguous()}
        elif is_bert and name.startswith("text_model."):
            named[f"text.transformer.{name.removeprefix('text_model.')}"] = value
        elif joined:
            parts = [state[f"{joined[1]}.self_attn.{part}_proj.{joined[2]}"] for part in "qkv"]
            named[f"{_renamed(joined[1])}.attn.in_proj_{joined[2]}"] = torch.cat(parts)
        elif not re.search(r"\.self_attn\.[kv]_proj\.", name):
            named[_renamed(name)] = value
    return named


def _renamed(name: str) -> str:
    for prefix, ours in NAMES.items():
        if name.startswith(prefix):
            name = ours + name.removeprefix(prefix)
    for part, ours in LAYER_NAMES.items():
        name = name.replace(part, ours)
    return name

"""Small open_clip models with random weights, and our towers with the weights of their checkpoints."""

import json
from copy import deepcopy

import torch
from model_settings import make_model_params
from open_clip.model import CLIP, CustomTextCLIP

from pipeline_lib.towers.kinds import build_image_tower, build_text_tower, resolve_towers
from pipeline_lib.towers.weights import load_strictly

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}
TIMM_CONFIG = {
    **CONFIG,
    "vision_cfg": {"timm_model_name": "resnet10t", "timm_pool": "abs_attn", "timm_proj": "linear", "image_size": 64},
}


def written(folder, config):
    path = folder / "tiny.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def make_clip(config=CONFIG, kind=CLIP, seed=0):
    torch.manual_seed(seed)
    values = deepcopy(config)
    model = kind(values["embed_dim"], values["vision_cfg"], values["text_cfg"], values.get("quick_gelu", False)).eval()
    with torch.no_grad():
        for value in model.parameters():  # zeros and ones would hide a swapped parameter
            value.add_(0.02 * torch.randn_like(value))
    return model


def resolved(name, weights, image=None, text=None, **changes):
    both = {"kind": "open_clip", "name": str(name), "weights": weights and str(weights), "pretrained": bool(weights)}
    params = make_model_params(
        {**both, **(image or {})}, {**both, "pooling": "last", "max_tokens": 77, **(text or {})}, **changes
    )
    return resolve_towers(params)


def filled(sources):
    """Both towers with their pretrained weights, in evaluation mode."""
    towers = build_image_tower(sources["image"].description), build_text_tower(sources["text"].description)
    for tower, source in zip(towers, sources.values(), strict=True):
        load_strictly(tower, source.state, str(source.weights), source.new)
        tower.eval()
    return towers


__all__ = ["CONFIG", "TIMM_CONFIG", "CustomTextCLIP", "filled", "make_clip", "resolved", "written"]

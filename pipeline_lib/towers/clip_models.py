"""Model configs in open_clip's format that open_clip lacks: the TinyCLIP models, and CLIP with a ConvNeXt.

They are in a module, not in JSON files, because a stage depends on the modules that it imports and on no other files.
TinyCLIP: Wu et al. 2023 (arXiv:2309.12314).
"""

from typing import Any

from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

Config = dict[str, Any]


def _text(width: int, layers: int) -> Config:
    return {"context_length": 77, "vocab_size": 49408, "width": width, "heads": width // 64, "layers": layers}


def _tiny(vision: tuple[int, int, int], text: tuple[int, int]) -> Config:
    """Return a TinyCLIP config for image tower (layers, width, patch size) and text tower (layers, width)."""
    layers, width, patch = vision
    return {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": layers, "width": width, "patch_size": patch},
        "text_cfg": _text(text[1], text[0]),
    }


def _convnext(embed_dim: int, size: int, trunk: str, projection: str, text: Config, drop_path: float = 0.0) -> Config:
    """Return a config whose image tower is a ConvNeXt with an attention pooling (`abs_attn`)."""
    vision = {"timm_model_name": trunk, "timm_pool": "abs_attn", "timm_proj": projection, "timm_drop_path": drop_path}
    return {"embed_dim": embed_dim, "vision_cfg": {**vision, "image_size": size}, "text_cfg": text}


GPT2 = {"hf_model_name": "gpt2", "hf_tokenizer_name": "gpt2", "hf_proj_type": "mlp", "hf_pooler_type": "last"}

# The preprocessing of all these models: that of OpenAI, as in TinyCLIP's own code.
CLIP_PREPROCESSING: Config = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
# Name -> {embed_dim, vision_cfg, text_cfg} as in open_clip's model_configs.
CLIP_MODELS: dict[str, Config] = {
    "TinyCLIP-ViT-61M-32-Text-29M": _tiny((12, 640, 32), (9, 512)),
    "TinyCLIP-ViT-39M-16-Text-19M": _tiny((12, 512, 16), (6, 512)),
    "TinyCLIP-ViT-40M-32-Text-19M": _tiny((12, 512, 32), (6, 512)),
    "TinyCLIP-ViT-8M-16-Text-3M": _tiny((10, 256, 16), (3, 256)),
    "convnextv2_tiny-gpt2": _convnext(512, 224, "convnextv2_tiny", "", GPT2),
    "convnextv2_tiny-cliptext": _convnext(512, 224, "convnextv2_tiny", "", _text(512, 12)),
    # open_clip's convnext_base_w with another pooling, followed by its linear projection.
    "convnext_base_w-absattn": _convnext(640, 256, "convnext_base", "linear", _text(640, 12), drop_path=0.1),
}

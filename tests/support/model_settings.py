"""Model params for tests: a default for every key, and the changes of a test."""

from pipeline_lib.params.model import ModelParams

IMAGE = {
    "kind": "timm", "name": "convnext_atto", "weights": None, "pretrained": True, "size": 32, "mean": None, "std": None,
    "resize_mode": None, "interpolation": None, "args": {}, "feature": "pooled", "pooling": None,
}  # fmt: skip
TEXT = {
    "kind": "hf", "name": "bert", "weights": None, "pretrained": True, "config": {}, "tokenizer": None,
    "pooling": "mean", "max_tokens": 16,
}  # fmt: skip
MODEL = {
    "weights_root": "data/weights",
    "embedding_dim": 8,
    "projector": {"image": "linear", "text": "linear", "hidden": 20, "shared": False},
    "fusion": "late",
    "fusion_heads": 2,
    "similarity": "cosine",
    "temperature": "learned",
    "logit_scale": 2.6593,
    "classifier": {"kind": "mlp", "inputs": "concat", "hidden": 12, "dropout": 0.1, "scale": 10.0},
    "text_vocabulary": "full",
    "missing_image": "black",
    "register_memory": {"slots_private": 0, "slots_shared": 0},
    "positional_conv": {"after_block": 0, "stride": 2},
    "frames": {"pooling": "mean", "layers": 0, "heads": 2, "max_frames": 8, "temperature": 0.1},
}


def make_model_params(image=None, text=None, projector=None, **changes) -> ModelParams:
    """Return the params with changes to the image tower, the text tower, the projector and the model."""
    values = {
        **MODEL,
        "image": {**IMAGE, **(image or {})},
        "text": {**TEXT, **(text or {})},
        "projector": {**MODEL["projector"], **(projector or {})},
        **changes,
    }
    return ModelParams.model_validate(values)

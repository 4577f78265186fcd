"""Small timm architectures that keep values computed from their weights in evaluation mode, and that share tensors."""

from model_settings import make_model_params

from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm

# Architecture -> its arguments and image size.
CACHED = {
    "levit_128s": ({"img_size": 64, "embed_dim": [16, 24, 32], "key_dim": 8, "num_heads": [1, 2, 2],
                    "depth": [1, 1, 1]}, 64),
    "tiny_vit_5m_224": ({"embed_dims": [16, 32, 32, 32], "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1],
                         "window_sizes": [2, 2, 2, 2]}, 64),
    "efficientformer_l1": ({"depths": [1, 1, 1, 2], "embed_dims": [8, 16, 24, 32]}, 224),
    "efficientformerv2_s0": ({"img_size": 64, "depths": [1, 1, 1, 2], "embed_dims": [8, 16, 24, 32]}, 64),
    "efficientvit_m0": ({"img_size": 64, "embed_dim": [16, 24, 32], "depth": [1, 1, 1], "num_heads": [1, 1, 1],
                         "window_size": [2, 2, 2], "kernels": [3, 3, 3, 3]}, 64),
}  # fmt: skip
SHARED = {
    "coat_tiny": ({"img_size": 64, "embed_dims": [16, 16, 16, 16], "serial_depths": [1, 1, 1, 1], "parallel_depth": 1,
                   "num_heads": 8}, 64),
}  # fmt: skip


def source_of(name, **image):
    """The source of a small tower with random weights."""
    args, size = (CACHED | SHARED)[name]
    return resolve_timm(make_model_params({"name": name, "args": args, "size": size, "pretrained": False, **image}))


def small_tower(name) -> TimmTower:
    return TimmTower(source_of(name).description)

"""The part of an intent profile that follows from the project's own params: its folds, its scales, its stored trunk."""

import re
from typing import Any

from pipeline_lib.experiments.recipes.schema import Patch, Profile
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.params.requirements import reads_tokens

# The patch size in the names of vision transformers: vit_small_patch16_224, ViT-L-14, TinyCLIP-ViT-39M-16-Text-19M.
PATCH = r"(?:patch|-)(8|14|16|28|32)(?!\d)"
ANY_TOWER = 8  # a convolutional tower takes any size
LARGER = 9 / 8


def profile_patch(profile: Profile, params: dict[str, Any]) -> Patch:
    """Return what a profile derives from params, checked ones; nothing for a profile that derives nothing."""
    plan: Patch = {}
    patch: Patch = {"plan": plan}
    if profile.folds is not None:
        plan["folds"] = list(range(params["split"]["num_folds"] if profile.folds == "all" else 1))
    if profile.scales is not None:
        image = params["model"]["image"]
        larger = [larger_scale(image["size"], image["name"])] if profile.scales == "several" else []
        plan["scales"] = [image["size"], *larger]
    if profile.store_trunk:
        plan["features"] = [TRUNK]
        # A store with tokens has the pooled outputs, too.
        patch["features"] = {"trunk": {"at": "tokens" if reads_tokens(params) else "pooled"}}
    return patch if plan else {}


def larger_scale(size: int, tower: str) -> int:
    """Return 9/8 of `size`, rounded up to a multiple of the tower's patch size, which is read from its name.

    >>> larger_scale(64, "data/sample/weights/image"), larger_scale(224, "ViT-L-14"), larger_scale(224, "ViT-B-16")
    (72, 252, 256)
    """
    match = re.search(PATCH, tower)
    patch = int(match[1]) if match else ANY_TOWER
    return -(-int(size * LARGER) // patch) * patch

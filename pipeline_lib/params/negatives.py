"""Which losses learn from the other pairs of a step, and settings that give a step one pair alone.

A softmax over one pair is 1 whatever its embeddings are, so the loss is 0 and trains nothing; SigLIP only pulls all
pairs together then.
"""

import math

from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.heads import weights_of
from pipeline_lib.params.losses import LossesParams

# Name of a loss -> whether it compares the pairs of a step with each other; a test compares the names with LOSS_HEADS.
COMPARES_PAIRS: dict[str, bool] = {
    "info_nce": True,
    "cross_entropy": False,
    "triplet": True,
    "siglip": True,
    "memory_queue": True,
    "hard_negatives": True,
    "head_alignment": True,
    "contrastive_distillation": True,
    "feature_distillation": False,
    "class_distillation": False,
    "coarse_distillation": True,
    "frame_distillation": False,
}
# Losses of composed models that compare the targets of a batch.
COMPARES_TARGETS = ("composed_contrast", "prompt_contrast", "patch_contrast")


def pair_losses(losses: LossesParams, queued: bool) -> list[str]:
    """Return the losses that are on and have nothing to learn from in a step of one pair.

    `queued` says whether the memory queue has negatives for it. Without uniformity, head alignment needs none.
    """
    without = {"memory_queue": queued, "head_alignment": losses.head_alignment.uniformity == 0}
    return [name for name in weights_of(losses) if COMPARES_PAIRS[name] and not without.get(name, False)]


def target_loss(params: ComposedParams, num_queries: float = math.inf) -> str | None:
    """Return a loss that is on and never has a second target in a batch, None without one.

    Mined negatives are targets, from the second epoch on.
    """
    mined = params.mining == "hard" and params.epochs > 1
    if not params.epochs or mined or min(params.batch_size, num_queries) > 1:
        return None
    return next((name for name in COMPARES_TARGETS if getattr(params.losses, name) > 0), None)

"""Which head each loss trains, and the settings of `train` that need one head or the other.

Only params are read, so the first stage of the pipeline can refuse settings that do not fit each other.
"""

from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.train import TrainParams

# Name of a loss -> the head that it trains; a model has only the heads that its losses train.
LOSS_HEADS: dict[str, str] = {
    "info_nce": "retrieval",
    "cross_entropy": "classification",
    "triplet": "retrieval",
    "siglip": "retrieval",
    "memory_queue": "retrieval",
    "hard_negatives": "retrieval",
    "head_alignment": "retrieval",
    "contrastive_distillation": "retrieval",
    "feature_distillation": "retrieval",
    "class_distillation": "classification",
    "coarse_distillation": "retrieval",
    "frame_distillation": "retrieval",
}


def weights_of(params: LossesParams) -> dict[str, float]:
    """Return the weights of the losses that are on, by name; ValueError if every weight is 0."""
    weights = {name: float(getattr(params, name).weight) for name in LOSS_HEADS}
    on = {name: weight for name, weight in weights.items() if weight > 0}
    if not on:
        raise ValueError(f"params.yaml: every weight under losses is 0 ({', '.join(weights)}); give one a weight")
    return on


def trained_heads(losses: LossesParams, train: TrainParams) -> set[str]:
    """Return the heads that the losses train; ValueError if the losses do not fit `train.mining` or `train.mix`.

    No head is trained in 0 epochs.
    """
    if not train.epochs:
        return set()
    by_head = {name: LOSS_HEADS[name] for name in weights_of(losses)}
    heads = set(by_head.values())
    if train.mining != "none" and "retrieval" not in heads:
        raise ValueError(
            f"train.mining = {train.mining!r} compares embeddings, but no loss that trains them is on; "
            "set train.mining = none, or give losses.info_nce, or another loss that compares images and texts, "
            "a weight above 0"
        )
    comparing = [name for name, head in by_head.items() if head != "classification"]
    if train.mix != "none" and comparing:
        raise ValueError(
            f"train.mix = {train.mix!r} blends two products, which match neither's text nor image, but "
            f"losses.{comparing[0]} compares images and texts; set train.mix = none, or every weight but those of "
            "losses.cross_entropy and losses.class_distillation to 0"
        )
    return heads

"""What the settings of training need: a head for `train.best_metric`; folds, classes and texts in the catalogue.

Only params and the counts of the catalogue are read, so the first stage that runs can refuse a run that would stop
after an epoch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.paths import NO_SPLIT, STARTS
from pipeline_lib.params.composed import PROTOCOL_METRICS, ComposedParams
from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.evaluate import BANK_KINDS, EvaluateParams
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.heads import LOSS_HEADS, trained_heads, weights_of
from pipeline_lib.params.inputs import teacher_size
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.negatives import pair_losses, target_loss
from pipeline_lib.params.phases import LAST, PhasesParams, train_params
from pipeline_lib.params.plan import TRUNK, PlanParams
from pipeline_lib.params.section import parse_section
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.params.split import SplitParams
from pipeline_lib.params.train import TrainParams

# Metrics of the held-out fold that need the head; `loss` needs none.
HEAD_METRICS = {
    "retrieval": ("MeanRecall", "R@1", "R@5", "R@10", "i2t_MeanRecall"),
    "classification": ("top1", "top3", "macro_f1", "balanced_accuracy"),
}


def check_heads(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a phase's losses do not fit its settings, or train no head that its best_metric measures."""
    losses = parse_section(LossesParams, dict(params))
    for phase, train in _phases(params).items():
        heads = trained_heads(losses, train)
        if not train.epochs:
            continue
        needed = next((head for head, metrics in HEAD_METRICS.items() if train.best_metric in metrics), None)
        if needed is not None and needed not in heads:
            measured = ", ".join([*(name for head in sorted(heads) for name in HEAD_METRICS[head]), "loss"])
            raise ValueError(
                f"{path}: {_key(phase, 'best_metric')} = {train.best_metric!r} measures {needed}, which no loss "
                f"trains; choose one of {measured}, or give a loss for {needed} a weight above 0"
            )


def check_batches(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a phase's steps have one pair, or its validation batches, for a loss that compares pairs."""
    losses = parse_section(LossesParams, dict(params))
    for phase, train in _phases(params).items():
        if not train.epochs or train.batch_size > 1:
            continue
        size, accumulate = _key(phase, "batch_size"), _key(phase, "accumulate")
        names = pair_losses(losses, queued=losses.memory_queue.start_epoch < train.epochs)
        if names and train.accumulate == 1:
            raise ValueError(
                f"{path}: losses.{names[0]} learns from the other products of a step, but {size} = 1 with {accumulate} "
                f"= 1 leaves none; set {size} to 2 or more, or losses.{names[0]}.weight = 0"
            )
        if train.best_metric == "loss" and (names := pair_losses(losses, queued=False)):
            raise ValueError(
                f"{path}: {_key(phase, 'best_metric')} = 'loss' is measured in batches of {size} = 1, in which losses."
                f"{names[0]} has nothing to compare; set {size} to 2 or more, or choose another metric"
            )


def check_search(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a model of plan.search has no embeddings, so that its index would stop after training."""
    plan, losses = parse_section(PlanParams, dict(params)), parse_section(LossesParams, dict(params))
    train = _phases(params)[LAST]
    if not plan.search or not (plan.index or plan.judged) or "retrieval" in trained_heads(losses, train):
        return
    without = f"{_key(LAST, 'epochs')} = 0 trains none"
    reason = "no loss that compares images and texts is on" if train.epochs else without
    raise ValueError(
        f"{path}: plan.search = {plan.search} needs a model with embeddings, but {reason}; set plan.search = []"
        + (", or the weight of losses.info_nce, or of another such loss, above 0" if train.epochs else "")
    )


def size_notes(params: Mapping[str, Any], project: Path = Path()) -> list[str]:
    """Return a line if photos are read at more pixels than shards.size stores, so that they are enlarged again."""
    stored, plan = parse_section(ShardsParams, dict(params)).size, parse_section(PlanParams, dict(params))
    sizes = {
        "model.image.size": parse_section(ModelParams, dict(params)).image.size,
        "plan.scales": max(plan.scales),
        **{f"the teacher {name!r}": teacher_size(project / STARTS / name) for name in plan.teachers},
    }
    key = max(sizes, key=lambda name: sizes[name])
    if sizes[key] <= stored:
        return []
    return [
        f"shards.size = {stored} stores larger photos at {stored} px, and {key} reads {sizes[key]} px, so they are "
        f"enlarged again; set shards.size to {sizes[key]} or more"
    ]


def view_notes(params: Mapping[str, Any]) -> list[str]:
    """Return a line if each fold runs the frozen image tower over views of the test photos that can be stored."""
    embed, plan = parse_section(EmbedParams, dict(params)), parse_section(PlanParams, dict(params))
    model = parse_section(ModelParams, dict(params))
    size = model.image.size
    # Early fusion and adapters change what the layers give, so their models read no stored views.
    memory, conv = model.register_memory, model.positional_conv
    if model.fusion == "early" or memory.slots_private or memory.slots_shared or conv.after_block:
        return []
    # The stage `features` stores the plain view at the size of training.
    views = [f"{scale} px" for scale in plan.scales if scale != size] + ["the mirrored photo"] * embed.flip
    frozen = all(train.keeps_frozen("image") for train in _phases(params).values())
    if embed.stored_views or TRUNK not in plan.features or not views or not frozen:
        return []
    return [
        f"embed.stored_views = false, so the frozen image tower runs again for every fold and in every run "
        f"({', '.join(views)}); true stores what it gives once"
    ]


def check_frame_pooling(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if model.frames has parameters that photos, clips or losses do not fit."""
    pooling = parse_section(ModelParams, dict(params)).frames
    if parse_section(LossesParams, dict(params)).frame_distillation.weight and pooling.pooling != "attention":
        raise ValueError(
            f"{path}: losses.frame_distillation trains the weights of a frame attention, but model.frames.pooling = "
            f"{pooling.pooling}; set model.frames.pooling = attention, or losses.frame_distillation.weight = 0"
        )
    if not pooling.trained:
        return
    photos = {_key(phase, "photo"): train.photo for phase, train in _phases(params).items()}
    photos["embed.photo"] = parse_section(EmbedParams, dict(params)).photo
    for key, photo in photos.items():
        if photo != "mean_pool":
            raise ValueError(
                f"{path}: model.frames (pooling = {pooling.pooling}, layers = {pooling.layers}) reads all frames of a "
                f"product, but {key} = {photo}; set {key} = mean_pool, or model.frames.pooling = mean and "
                "model.frames.layers = 0"
            )
    count = parse_section(FramesParams, dict(params)).count
    if parse_section(PlanParams, dict(params)).frames and pooling.layers and count > pooling.max_frames:
        raise ValueError(
            f"{path}: frames.count = {count}, but model.frames.max_frames = {pooling.max_frames} positions; raise it"
        )


def check_composed(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a model of plan.composed reads stores that no stage writes, or has no negatives.

    Or if its protocol does not measure the figure by which its epochs are compared.
    """
    plan, composed = parse_section(PlanParams, dict(params)), parse_section(ComposedParams, dict(params))
    measured = PROTOCOL_METRICS[composed.protocol]
    if plan.composed and composed.best_metric not in measured:
        raise ValueError(
            f"{path}: composed.best_metric = {composed.best_metric}, but composed.protocol = {composed.protocol} "
            f"measures {', '.join(measured)}; choose one of these"
        )
    at = parse_section(FeaturesParams, dict(params)).trunk.at
    if plan.composed and TRUNK not in plan.features:
        raise ValueError(
            f"{path}: plan.composed = {plan.composed} reads stored features; set plan.features = [{TRUNK}]"
        )
    if plan.composed and (name := target_loss(composed)):
        raise ValueError(
            f"{path}: composed.losses.{name} learns from the other targets of a batch, but composed.batch_size = 1 "
            "leaves none; set composed.batch_size to 2 or more, or composed.mining = hard and composed.epochs to 2 or "
            "more"
        )
    reason = reads_tokens(params)
    if reason is not None and at != "tokens":
        raise ValueError(
            f"{path}: {reason}, which reads image tokens, but features.trunk.at = {at} stores none; write "
            "features.trunk.at = tokens"
        )


def reads_tokens(params: Mapping[str, Any]) -> str | None:
    """Return the setting by which a model of plan.composed reads stored image tokens; None if none does."""
    plan, composed = parse_section(PlanParams, dict(params)), parse_section(ComposedParams, dict(params))
    reasons = {
        "plan.composed has q_former": "q_former" in plan.composed,
        f"composed.fusion = {composed.fusion}": bool(plan.composed) and composed.fusion != "none",
        "composed.losses.patch_contrast is on": bool(plan.composed) and composed.losses.patch_contrast > 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def check_hubness(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if evaluate.hubness lacks its bank, names a correction twice, or has no ranks to correct."""
    evaluate = parse_section(EvaluateParams, dict(params))
    bank = parse_section(EmbedParams, dict(params)).query_bank
    asked = f"{path}: evaluate.hubness = {evaluate.hubness}"
    if len(set(evaluate.hubness)) != len(evaluate.hubness):
        raise ValueError(f"{asked} has the same item twice")
    if evaluate.hubness and evaluate.protocol == "row_paired":
        raise ValueError(
            f"{asked} corrects ranks in complete galleries, but evaluate.protocol = row_paired has none; choose "
            "another protocol, or set evaluate.hubness = []"
        )
    needing = [kind for kind in evaluate.hubness if kind in BANK_KINDS]
    if needing and not bank:
        raise ValueError(
            f"{asked}: {needing[0]} needs training texts, but embed.query_bank = 0 embeds none; set embed.query_bank "
            "to the number of texts, 60000 say"
        )


def check_catalogue(params: Mapping[str, Any], counts: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if the plan or a loss needs what the catalogue lacks; `counts` are those of counts.json."""
    plan, assignment = parse_section(PlanParams, dict(params)), parse_section(SplitParams, dict(params)).assignment
    given = counts.get("given_folds", [])  # a catalogue of an earlier version has none
    if Path(assignment) == NO_SPLIT:
        check_planned_folds(plan.folds, given or plan.folds, path)
    composed = plan.composed
    if composed and not counts["composed"].get("queries"):
        raise ValueError(
            f"{path}: plan.composed = {composed} trains on composed queries, but the catalogue has none; name their "
            "table in data.queries, or set plan.composed = []"
        )
    losses = parse_section(LossesParams, dict(params))
    for name in weights_of(losses) if _phases(params)[LAST].epochs else ():
        if LOSS_HEADS[name] == "classification" and counts["classes"] < 2:
            raise ValueError(
                f"{path}: losses.{name} needs classes to tell apart, but the catalogue has {counts['classes']}; name "
                f"the column of labels in data.columns.label, or set losses.{name}.weight = 0"
            )
        if LOSS_HEADS[name] == "retrieval" and counts["queries"] == 0:
            raise ValueError(
                f"{path}: losses.{name} compares images with texts, but the catalogue has no text; name the columns in "
                f"data.columns.text, or set losses.{name}.weight = 0"
            )


def check_planned_folds(planned: Sequence[int], given: Sequence[int], path: Path) -> None:
    """Raise ValueError if plan.folds lists a fold that is not among the given ones."""
    if missing := sorted(set(planned) - set(given)):
        fitting = [fold for fold in planned if fold in given] or list(given)
        raise ValueError(
            f"{path}: plan.folds lists {missing[0]}, but the folds are {', '.join(map(str, given))}, by the table's "
            f"split or fold column or by split.assignment; set plan.folds = {fitting}"
        )


def _phases(params: Mapping[str, Any]) -> dict[str, TrainParams]:
    base = parse_section(TrainParams, dict(params))
    changes = parse_section(PhasesParams, dict(params)).model_dump()
    return {name: train_params(base, own, name) for name, own in changes.items()}


def _key(phase: str, setting: str) -> str:
    return f"train.{setting}" if phase == LAST else f"phases.{phase}.{setting}"

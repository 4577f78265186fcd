"""Finds recipes whose name contradicts their settings: the typical mistake after a folder is copied and edited by hand.

Each rule reads a part of the name (`unfreeze8`, `freeze6-4`, `dot`) and checks the settings that it describes.
"""

import re
from collections.abc import Callable
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.merging import Params
from pipeline_lib.params.section import pick

Messages = list[str]
# Poolings with weights of their own, which are one more layer group at the end of a tower.
TRAINED_TEXT_POOLS = ("gem", "attentive")


def contradictions(name: str, params: Params) -> Messages:
    """Return a line for each part of the name that the settings contradict; none if the name fits."""
    messages: Messages = []
    for pattern, rule in RULES.items():
        for match in re.finditer(rf"(?<![^-]){pattern}(?![^-])", name):
            messages += [f"the name says {match[0]}, but {line}" for line in rule(match, params)]
    return messages


def _is(key: str, *allowed: Any) -> Callable[[re.Match[str], Params], Messages]:
    """Return a rule that allows some values of a key."""

    def rule(match: re.Match[str], params: Params) -> Messages:
        value = pick(params, key)
        return [] if value in allowed else [f"{key} = {value!r}"]

    return rule


def _contains(key: str, *allowed: str) -> Callable[[re.Match[str], Params], Messages]:
    """Return a rule that allows values of a key with one of some words in them."""

    def rule(match: re.Match[str], params: Params) -> Messages:
        value = str(pick(params, key)).lower()
        return [] if any(word in value for word in allowed) else [f"{key} = {pick(params, key)!r}"]

    return rule


def _is_on(loss: str) -> Callable[[re.Match[str], Params], Messages]:
    """Return a rule that needs a loss with a weight above 0."""

    def rule(match: re.Match[str], params: Params) -> Messages:
        weight = pick(params, f"losses.{loss}.weight")
        return [] if weight > 0 else [f"losses.{loss}.weight = {weight}"]

    return rule


def _pooling(match: re.Match[str], params: Params) -> Messages:
    return _is("model.text.pooling", match["pooling"])(match, params)


def _unfreeze(match: re.Match[str], params: Params) -> Messages:
    """The last N text layers are trained; a pooling with weights of its own is one more group after them."""
    own, both = pick(params, "train.towers.text.unfreeze_layers"), pick(params, "train.unfreeze_layers")
    depth = both if own is None else own
    pooled = pick(params, "model.text.pooling") in TRAINED_TEXT_POOLS and depth != "all"
    layers = depth - 1 if pooled else depth
    if layers == int(match["layers"]):
        return []
    return [f"{layers} text layers{' and the pooling after them' if pooled else ''} are trained"]


def _freeze(match: re.Match[str], params: Params) -> Messages:
    messages = []
    for tower in ("image", "text"):
        frozen = pick(params, f"train.towers.{tower}.freeze_first")
        if frozen != int(match[tower]):
            messages.append(f"train.towers.{tower}.freeze_first = {frozen}")
    return messages


def _nothing_frozen(match: re.Match[str], params: Params) -> Messages:
    messages = [] if pick(params, "train.unfreeze_layers") == "all" else ["train.unfreeze_layers is not all"]
    rules = pick(params, "train.towers")
    return messages + [f"train.towers.{tower} freezes layers" for tower in rules if rules[tower]["freeze_first"]]


def _llrd(match: re.Match[str], params: Params) -> Messages:
    decay = pick(params, "train.lr_decay")
    return [] if decay < 1 else [f"train.lr_decay = {decay}"]


def _starts(match: re.Match[str], params: Params) -> Messages:
    start = pick(params, "train.init_from")
    return [f"train.init_from = {start!r}"] if start == paths.NO_START.as_posix() else []


def _stages(match: re.Match[str], params: Params) -> Messages:
    steps = 1 + len(pick(params, "train.schedule"))
    number = match["stages"]
    fits = steps == int(number) if number else steps > 1
    return [] if fits else [f"train.schedule has {steps - 1} steps, which makes {steps} stages"]


def _phase(match: re.Match[str], params: Params) -> Messages:
    count = 1 + len(pick(params, "plan.phases"))
    return [] if count == int(match["number"]) else [f"plan.phases makes {count} stages of training"]


def _scales(match: re.Match[str], params: Params) -> Messages:
    scales = pick(params, "plan.scales")
    return [] if len(scales) > 1 else [f"plan.scales = {scales}"]


def _register(match: re.Match[str], params: Params) -> Messages:
    slots = pick(params, "model.register_memory")
    return [] if any(slots.values()) else ["model.register_memory has no slots"]


def _convolved(match: re.Match[str], params: Params) -> Messages:
    return [] if pick(params, "model.positional_conv.after_block") else ["model.positional_conv.after_block = 0"]


def _queue(match: re.Match[str], params: Params) -> Messages:
    return _is_on("memory_queue")(match, params) + _is("losses.info_nce.weight", 0.0)(match, params)


def _distilled(match: re.Match[str], params: Params) -> Messages:
    """A distillation loss has a weight, and plan.teachers names a teacher."""
    weights = [value["weight"] for name, value in pick(params, "losses").items() if name.endswith("_distillation")]
    messages = [] if any(weights) else ["every distillation loss has weight 0"]
    return messages + ([] if pick(params, "plan.teachers") else ["plan.teachers is empty"])


def _tiny_clip(match: re.Match[str], params: Params) -> Messages:
    part = f"TinyCLIP-ViT-{match['size'].upper()}-{match['patch']}"
    names = {tower: str(pick(params, f"model.{tower}.name")) for tower in ("image", "text")}
    return [f"model.{tower}.name = {name!r}" for tower, name in names.items() if not name.startswith(part)]


# Part of a name between dashes -> rule(match, params) -> what the settings are instead.
RULES: dict[str, Callable[[re.Match[str], Params], Messages]] = {
    r"pool-(?P<pooling>cls|mean|max|gem|attentive|last)": _pooling,
    r"(?P<pooling>mean)-pool": _pooling,
    r"unfreeze(?P<layers>\d+)": _unfreeze,
    r"freeze(?P<image>\d+)-(?P<text>\d+)": _freeze,
    "nofreeze": _nothing_frozen,
    "llrd": _llrd,
    "warm-start": _starts,
    r"(?P<stages>\d+)stage": _stages,
    r"(?P<stages>)staged": _stages,
    r"stage(?P<number>\d+)": _phase,
    "multiscale": _scales,
    "gap": _is("model.image.feature", "pooled"),
    "pseudo-fc": _is("model.image.feature", "new_fc"),
    "true-fc": _is("model.image.feature", "logits"),
    "convnext": _contains("model.image.name", "convnext"),
    "convnext-tiny": _contains("model.image.name", "convnext_tiny"),
    "vit": _contains("model.image.name", "vit"),
    "late": _is("model.fusion", "late"),
    "early": _is("model.fusion", "early"),
    "shared-projector": _is("model.projector.shared", True),
    "projector-mlp": _is("model.projector.text", "mlp"),
    "dot": _is("model.similarity", "dot"),
    "temperature-shared": _is("model.temperature", "learned"),
    "temperature-separate": _is("model.temperature", "per_direction"),
    "triplet": _is_on("triplet"),
    "hard-negatives": _is_on("hard_negatives"),
    "headalign": _is_on("head_alignment"),
    "memory-queue": _queue,
    "distill": _distilled,
    r"(?P<size>\d+m)(?P<patch>16|32)": _tiny_clip,
    "cnn": _contains("model.image.name", "resnet"),
    "register": _register,
    "small-vocab": _is("model.text_vocabulary", "cut"),
    "poscnn": _convolved,
    "cliptext": _is("model.text.kind", "open_clip"),
    "gated": _is("composed.fusion", "gated"),
}

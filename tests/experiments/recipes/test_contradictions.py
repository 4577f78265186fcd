"""A name that contradicts the settings gives a message; a name that fits, or describes nothing, gives none."""

from pathlib import Path

import pytest

from pipeline_lib.experiments.recipes.contradictions import RULES, contradictions
from pipeline_lib.experiments.recipes.merging import merge, nested
from pipeline_lib.experiments.recipes.schema import recipe_names
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[3]
PARAMS = load_params(ROOT / "params.yaml")


def after(**changes):
    params = PARAMS
    for key, value in changes.items():
        params = merge(params, nested(key.replace("__", "."), value))
    return params


@pytest.mark.parametrize(
    ("name", "changes", "messages"),
    [
        ("a05-unfreeze8", {}, ["the name says unfreeze8, but 4 text layers are trained"]),
        ("a05-unfreeze8", {"train__unfreeze_layers": 8}, []),
        ("a05-unfreeze8", {"train__towers__text__unfreeze_layers": 8}, []),
        (
            "x-unfreeze8",
            {"train__unfreeze_layers": 8, "model__text__pooling": "attentive"},
            ["the name says unfreeze8, but 7 text layers and the pooling after them are trained"],
        ),
        ("x-unfreeze8", {"train__unfreeze_layers": "all"},
         ["the name says unfreeze8, but all text layers are trained"]),
        ("x-unfreeze80", {"train__unfreeze_layers": 80}, []),
        (
            "b-freeze6-4",
            {"train__towers__image__freeze_first": 6, "train__towers__text__freeze_first": 3},
            ["the name says freeze6-4, but train.towers.text.freeze_first = 3"],
        ),
        ("d01-nofreeze", {}, ["the name says nofreeze, but train.unfreeze_layers is not all"]),
        ("c-stage2", {}, ["the name says stage2, but plan.phases makes 1 stages of training"]),
        ("c-stage2", {"plan__phases": [{"name": "head", "after": "none"}]}, []),
        ("c-stage1", {}, []),
        ("c-multiscale", {"plan__scales": [64]}, ["the name says multiscale, but plan.scales = [64]"]),
        ("x-pool-cls", {}, ["the name says pool-cls, but model.text.pooling = 'mean'"]),
        ("x-mean-pool", {}, []),
        ("x-dot", {}, ["the name says dot, but model.similarity = 'cosine'"]),
        ("x-dotted", {}, []),
        ("x-llrd", {}, ["the name says llrd, but train.lr_decay = 1.0"]),
        ("x-triplet", {}, ["the name says triplet, but losses.triplet.weight = 0.0"]),
        ("x-memory-queue", {"losses__memory_queue__weight": 1.0},
         ["the name says memory-queue, but losses.info_nce.weight = 1.0"]),
        ("d04-3stage", {}, ["the name says 3stage, but train.schedule has 0 steps, which makes 1 stages"]),
        ("x-warm-start", {}, ["the name says warm-start, but train.init_from = 'data/starts/none'"]),
        ("x-register", {}, ["the name says register, but model.register_memory has no slots"]),
        ("x-poscnn", {}, ["the name says poscnn, but model.positional_conv.after_block = 0"]),
        ("b01-61m32", {"model__image__name": "TinyCLIP-ViT-61M-32-Text-29M"},
         ["the name says 61m32, but model.text.name = 'data/sample/weights/text'"]),
        ("x-vit", {"model__image__name": "vit_small_patch16_224"}, []),
        ("x-vit", {}, ["the name says vit, but model.image.name = 'data/sample/weights/image'"]),
        ("x-convnext-tiny", {"model__image__name": "convnext_base"},
         ["the name says convnext-tiny, but model.image.name = 'convnext_base'"]),
        ("a-name", {}, []),
    ],
)  # fmt: skip
def test_names_are_compared_with_settings(name, changes, messages):
    assert contradictions(name, after(**changes)) == messages


def test_the_default_settings_break_every_rule_except_those_they_follow():
    """A rule that no settings break would check nothing."""
    fulfilled = {"(?P<pooling>mean)-pool", "gap", "late", "temperature-shared", "multiscale"}
    examples = {
        r"pool-(?P<pooling>cls|mean|max|gem|attentive|last)": "pool-max", r"(?P<pooling>mean)-pool": "mean-pool",
        r"unfreeze(?P<layers>\d+)": "unfreeze3", r"freeze(?P<image>\d+)-(?P<text>\d+)": "freeze1-1",
        r"(?P<stages>\d+)stage": "2stage", r"(?P<stages>)staged": "staged",
        r"stage(?P<number>\d+)": "stage2", r"(?P<size>\d+m)(?P<patch>16|32)": "8m16",
    }  # fmt: skip
    for pattern in RULES:
        assert bool(contradictions(f"x-{examples.get(pattern, pattern)}", PARAMS)) != (pattern in fulfilled), pattern


def test_every_rule_applies_to_a_recipe():
    import re

    names = recipe_names(ROOT / "recipes")
    unused = [p for p in RULES if not any(re.search(rf"(?<![^-]){p}(?![^-])", name) for name in names)]
    # All rows of log B have triplets, so no name mentions them.
    assert unused == ["triplet"]

"""Every recipe builds and trains with tiny towers in one process: its row of the log gives open layers and losses."""

from pathlib import Path
from typing import NamedTuple

import pytest
from trained import ROOT, make_inputs, tiny_cell, train, with_teachers

from pipeline_lib.experiments.recipes.schema import read_recipe, recipe_names

# An epoch of one step: torch warns about the order of the schedule's and the optimizer's step.
pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")


class Expected(NamedTuple):
    """Open and all groups of each tower before training, steps as (epoch, tower, groups), and losses with a weight."""

    image: tuple[int, int]
    text: tuple[int, int]
    steps: tuple = ()
    losses: tuple[str, ...] = ("info_nce",)


TRIPLET = ("triplet",)
VIDEO = ("coarse_distillation", "frame_distillation", "info_nce")
# The tiny towers' groups: ResNet 5, ConvNeXt 7, ViT 3, TinyCLIP's as many as the real one's; BERT of 10 layers 11.
EXPECTED = {
    "accurate": Expected((5, 5), (3, 3), losses=("cross_entropy", "info_nce")),
    "classify": Expected((4, 5), (3, 3), losses=("cross_entropy",)),
    "frozen": Expected((0, 5), (0, 3), losses=("cross_entropy", "info_nce")),
    "quick": Expected((0, 5), (0, 3), losses=("cross_entropy", "info_nce")),
    "a00-mean-pool": Expected((0, 5), (0, 3)),
    "a01-baseline": Expected((0, 5), (0, 3)),
    "a02-warm-start": Expected((0, 5), (0, 3)),
    "a04-pool-attentive": Expected((0, 5), (1, 4)),
    "a04-pool-cls": Expected((0, 5), (0, 3)),
    "a05-unfreeze4": Expected((0, 5), (5, 12)),
    "a05-unfreeze8": Expected((0, 5), (9, 12)),
    "a06-image2": Expected((0, 5), (9, 12)),
    "a06-convnext-tiny": Expected((0, 7), (9, 12)),
    "a06-vit": Expected((0, 3), (9, 12)),
    "a07-gap": Expected((0, 5), (9, 12)),
    "a07-pseudo-fc": Expected((1, 6), (9, 12)),
    "a07-true-fc": Expected((0, 6), (9, 12)),
    "a08-llrd": Expected((5, 5), (12, 12)),
    "a09-late": Expected((5, 5), (12, 12)),
    "a09-early": Expected((5, 5), (11, 11)),
    "a10-shared-projector": Expected((6, 6), (12, 12)),
    "a11-dot": Expected((5, 5), (12, 12)),
    "a12-temperature-shared": Expected((5, 5), (12, 12)),
    "a12-temperature-separate": Expected((5, 5), (12, 12)),
    "a13-convnext": Expected((4, 7), (9, 12)),
    "a14-convnext-llrd": Expected((7, 7), (12, 12)),
    "a15-hard-negatives": Expected((0, 7), (9, 12), losses=("hard_negatives", "info_nce")),
    "a15-memory-queue": Expected((0, 7), (9, 12), losses=("memory_queue",)),
    "a16": Expected((0, 7), (9, 12)),
    "a-projector-mlp": Expected((5, 5), (12, 12)),
    "a-lr-schedule": Expected((5, 5), (12, 12)),
    "a-temperature-mlp": Expected((5, 5), (12, 12)),
    "a-clip": Expected((4, 4), (4, 4)),
    "b01-61m32": Expected((14, 14), (11, 11), losses=TRIPLET),
    "b01-61m32-freeze6-4": Expected((7, 14), (6, 11), losses=TRIPLET),
    "b01-61m32-freeze9-6": Expected((4, 14), (4, 11), losses=TRIPLET),
    "b02-39m16": Expected((14, 14), (8, 8), losses=TRIPLET),
    "b02-39m16-freeze6-3": Expected((7, 14), (4, 8), losses=TRIPLET),
    "b02-39m16-freeze8-4": Expected((5, 14), (3, 8), losses=TRIPLET),
    "b03-40m32": Expected((14, 14), (8, 8), losses=TRIPLET),
    "b04-cnn": Expected((5, 5), (3, 3), losses=TRIPLET),
    "b05-register": Expected((14, 14), (11, 11), losses=TRIPLET),
    "b06-small-vocab": Expected((14, 14), (11, 11), losses=TRIPLET),
    "b07-poscnn": Expected((14, 14), (8, 8), losses=TRIPLET),
    "c-stage1": Expected((0, 4), (0, 4), losses=("cross_entropy",)),
    "c-stage2": Expected((4, 4), (4, 4), losses=("cross_entropy",)),
    "c-multiscale": Expected((4, 4), (4, 4), losses=("cross_entropy",)),
    "d01-nofreeze": Expected((8, 8), (3, 3)),
    "d02-staged": Expected((1, 8), (0, 9), ((1, "text", 6), (2, "image", 4))),
    "d03-cliptext": Expected((1, 8), (4, 4), ((1, "image", 4),)),
    "d04-3stage": Expected((1, 8), (1, 10), ((1, "image", 2), (2, "text", 6))),
    "d05-distill-frozen": Expected((1, 8), (1, 10), losses=("contrastive_distillation", "info_nce")),
    "d06-distill-unfreeze": Expected(
        (1, 8), (1, 10), ((1, "image", 2), (2, "text", 6)), ("contrastive_distillation", "info_nce")
    ),
    "d07-headalign": Expected((1, 8), (1, 10), ((1, "image", 1),), ("head_alignment", "info_nce")),
    "d08-video-9k": Expected((12, 12), (4, 4), losses=VIDEO),
    "d08-video-7k": Expected((12, 12), (4, 4), losses=VIDEO),
    "d08-video-locked": Expected((0, 12), (0, 4), losses=VIDEO),
    # They train the models of plan.composed alone: test_composed_recipes.py.
    "e01-baseline": Expected((0, 3), (0, 3), losses=()),
    "e02-gated": Expected((0, 3), (0, 3), losses=()),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("shop") / "project")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with the folders that recipes name by their path in the repository."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "data"):
        Path(name).symlink_to(ROOT / name)
    return tmp_path


def start_of(name, inputs, place):
    """The `init_from` of a recipe that starts from trained models, which are trained first."""
    start = read_recipe(name).starts_from
    if start is None:
        return {}
    train(tiny_cell(start).params, inputs, place / "start")
    return {"init_from": str(place / "start")}


def test_every_recipe_is_expected():
    assert EXPECTED.keys() == set(recipe_names(ROOT / "recipes"))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recipe_trains_and_opens_the_layers_of_its_row(name, inputs, place):
    params = tiny_cell(name).params
    params["train"] |= start_of(name, inputs, place)
    trained = train(params, with_teachers(name, inputs, place), place / name)
    rows = {row["tower"]: row["groups"] for row in trained["plan"]["towers"]}
    opened = {tower: (sum(group["trainable"] for group in rows[tower]), len(rows[tower])) for tower in rows}
    steps = tuple((step["epoch"], step["tower"], len(step["groups"])) for step in trained["plan"]["steps"])
    losses = tuple(sorted(trained["card"]["run"]["losses"]))
    assert Expected(opened["image"], opened["text"], steps, losses) == EXPECTED[name]
    assert CHANGES.get(name, lambda card, plan: True)(trained["card"]["description"], rows)


def rates(groups):
    return [group["lr"] for group in groups]


def falling(rows):
    return all(
        low < high
        for tower in ("image", "text")
        for low, high in zip(rates(rows[tower]), rates(rows[tower])[1:], strict=False)
    )


# Recipe -> check of the trained model's description and layer groups, where a row is about more than open layers.
CHANGES = {
    "accurate": lambda model, rows: falling(rows),
    "classify": lambda model, rows: not model["retrieval"] and model["classifier"]["hidden"] == 256,
    "a00-mean-pool": lambda model, rows: model["text"]["pooling"] == "mean" and model["temperature"] == "fixed",
    "a04-pool-attentive": lambda model, rows: [g["name"] for g in rows["text"] if g["trainable"]] == ["pool"],
    "a04-pool-cls": lambda model, rows: model["text"]["pooling"] == "cls",
    "a06-convnext-tiny": lambda model, rows: model["image"]["architecture"] == "convnext_tiny.fb_in22k",
    "a06-vit": lambda model, rows: model["image"]["architecture"].startswith("vit_"),
    "a07-pseudo-fc": lambda model, rows: rows["image"][-1]["name"] == "fc",
    "a07-true-fc": lambda model, rows: model["image"]["classes"] == 1000,
    "a08-llrd": lambda model, rows: falling(rows),
    "a09-early": lambda model, rows: model["fusion"]["heads"] == 8,
    "a10-shared-projector": lambda model, rows: model["projector"]["shared"],
    "a11-dot": lambda model, rows: model["similarity"] == "dot" and model["logit_scale"] == 0,
    "a12-temperature-separate": lambda model, rows: model["temperature"] == "per_direction",
    "a14-convnext-llrd": lambda model, rows: falling(rows),
    "a-projector-mlp": lambda model, rows: model["projector"]["image"] == model["projector"]["text"] == "mlp",
    "a-clip": lambda model, rows: model["text"]["config"]["model_type"] == "xlm-roberta",
    "b05-register": lambda model, rows: set(model["adapters"]["register_memory"].values()) == {16},
    "b06-small-vocab": lambda model, rows: model["text"]["text_cfg"]["vocab_size"] < 768,
    "b07-poscnn": lambda model, rows: model["adapters"] == {"positional_conv": {"after_block": 6, "stride": 2}},
    "c-stage1": lambda model, rows: model["classifier"]["hidden"] == 512 and rates(rows["head"]) == [1e-3],
    "c-stage2": lambda model, rows: set(rates(rows["text"])) == {1e-5} and rates(rows["head"]) == [3e-4],
    "d01-nofreeze": lambda model, rows: model["image"]["architecture"].startswith("convnextv2_tiny"),
    "d02-staged": lambda model, rows: rates(rows["text"]) == pytest.approx([0] * 3 + [7e-5] * 6),
    "d03-cliptext": lambda model, rows: model["text"]["kind"] == "open_clip",
    "d04-3stage": lambda model, rows: max(rates(rows["text"][:-1])) == pytest.approx(0.2 * 2e-5),
    "d07-headalign": lambda model, rows: rates(rows["image"])[-2] == pytest.approx(0.05 * 5e-4),
}  # fmt: skip

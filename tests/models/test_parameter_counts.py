"""Parameter counts of the logs and papers against our builders: a different count is a different architecture."""

import pytest
import torch
from model_settings import make_model_params

from pipeline_lib.models.multimodal import ImageTextModel, describe
from pipeline_lib.optim.freezing import set_epoch
from pipeline_lib.towers.clip_models import CLIP_MODELS
from pipeline_lib.towers.kinds import build_image_tower, build_text_tower, resolve_towers

GPT2 = {"kind": "hf", "name": "gpt2", "pretrained": False, "pooling": "last"}


def size(module) -> int:
    return sum(value.numel() for value in module.parameters())


def described(image, text, **changes):
    params = make_model_params({"pretrained": False, **image}, {"pretrained": False, **text}, **changes)
    return describe(params, resolve_towers(params), True, [])


def built(image, text, **changes):
    """A model on the meta device, which has names and shapes only."""
    with torch.device("meta"):
        return ImageTextModel(described(image, text, **changes))


def open_last(tower, depth):
    groups = tower.layer_groups()
    set_epoch(tower, groups, [None] * (len(groups) - depth) + [0] * depth, 0)


def clip_towers(name):
    both = {"kind": "open_clip", "name": name}
    description = described(both, {**both, "pooling": "last"})
    with torch.device("meta"):
        return build_image_tower(description["image"]), build_text_tower(description["text"])


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("TinyCLIP-ViT-61M-32-Text-29M", 61_411_200, 53_970_944),
        ("TinyCLIP-ViT-39M-16-Text-19M", 38_587_392, 44_513_792),
        ("TinyCLIP-ViT-40M-32-Text-19M", 39_691_776, 44_513_792),
        ("TinyCLIP-ViT-8M-16-Text-3M", 8_276_992, 15_169_024),
        ("convnextv2_tiny-gpt2", 27_866_496 + 2_203_904, 125_259_008),
        ("convnextv2_tiny-cliptext", 27_866_496 + 2_203_904, 63_428_096),
        ("convnext_base_w-absattn", 87_566_464 + 4_265_600, 91_163_520),
    ],
)
def test_clip_models_are_the_published_size(name, image, text):
    towers = clip_towers(name)
    assert (size(towers[0]), size(towers[1])) == (image, text)


def test_every_one_of_our_clip_models_is_counted():
    marks = test_clip_models_are_the_published_size.pytestmark[0].args[1]
    assert {row[0] for row in marks} == set(CLIP_MODELS)


def test_absattn_of_convnext_base_with_and_without_its_linear_layer():
    assert size(clip_towers("convnext_base_w-absattn")[0].visual.head) == 4_265_600
    image = {"kind": "open_clip", "name": "convnext_base_w-absattn", "args": {"timm_proj": ""}}
    assert size(built(image, GPT2).image.visual.head) == 3_856_000


@pytest.mark.parametrize(
    ("trunk", "width", "joint", "count"),
    [("convnextv2_tiny", 768, 512, 2_203_904), ("convnext_base", 1024, 640, 3_856_000)],
)
def test_abs_attn_of_a_timm_tower_has_the_same_size(trunk, width, joint, count):
    projector = {"image": "none", "text": "linear"}
    model = built({"name": trunk, "pooling": "abs_attn"}, GPT2, embedding_dim=joint, projector=projector)
    assert size(model.image.pool) == count == 50 * width + 3 * width * width + 3 * width + width * joint + joint
    assert size(model.image.trunk) + count == size(model.image)


def test_gpt2_with_its_two_layer_projection():
    model = built({"name": "convnextv2_tiny"}, GPT2, embedding_dim=512, projector={"text": "mlp", "hidden": 640})
    assert size(model.text) == 124_439_808
    assert size(model.head["text_projection"]) == 819_200


def trainable(model) -> int:
    return sum(value.numel() for value in model.parameters() if value.requires_grad)


def test_d02_with_frozen_trunks_trains_head_projection_and_scale():
    """Both trunks frozen: 2,203,904 + 819,200 + 1 = 3,023,105 are trained."""
    image = {"name": "convnextv2_tiny", "pooling": "abs_attn"}
    projector = {"image": "none", "text": "mlp", "hidden": 640}
    model = built(image, GPT2, embedding_dim=512, projector=projector)
    open_last(model.image, 1)
    open_last(model.text, 0)
    assert trainable(model) == 3_023_105


def test_d02_unfreezes_six_layers_of_gpt2_later():
    tower = built({"name": "convnext_atto"}, GPT2).text
    groups = tower.layer_groups()
    assert [group.name for group in groups] == ["embeddings", *(f"layer.{number}" for number in range(12))]
    unfrozen = {name for group in groups[-6:] for name in group.parameters}
    expected = ("trunk.ln_f", *(f"trunk.h.{number}." for number in range(6, 12)))
    assert unfrozen == {name for name, _ in tower.named_parameters() if name.startswith(expected)}


def test_d03_trains_the_full_clip_text_tower():
    """Image trunk frozen: the text tower's 63,428,096, the visual head and the scale add up to 65,632,001."""
    both = {"kind": "open_clip", "name": "convnextv2_tiny-cliptext"}
    projector = {"image": "none", "text": "none"}
    model = built(both, {**both, "pooling": "last"}, embedding_dim=512, projector=projector)
    open_last(model.image, 1)
    assert trainable(model) == 65_632_001

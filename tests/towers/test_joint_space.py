"""A pair of towers from one checkpoint keeps its joint space: its projections, its scale, its bias."""

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import save_file
from tiny_clip import CONFIG, make_clip, resolved, written
from tiny_project import PARAMS
from torch.nn import functional

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.section import load_params
from pipeline_lib.towers.joint_space import pair_warnings, settle_bias, settle_heads, why_apart
from pipeline_lib.towers.tower import TowerSource


def sources(image="clip.pt", text="clip.pt", new=(), notes=()):
    return {"image": TowerSource({}, image, {}), "text": TowerSource({}, text, {}, new, notes)}


def test_a_pair_from_one_file_has_a_joint_space():
    assert why_apart(sources()) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"text": "bert"}, "no pair: zero-shot needs an image and a text tower trained together"),
        ({"image": None, "text": None}, "no pair"),
        ({"notes": ("text: model.text.pooling = mean, but",)}, "model.text.pooling = mean"),
        ({"new": ("pool.",)}, "parts without pretrained weights"),
    ],
)
def test_other_towers_have_no_joint_space(options, reason):
    assert reason in why_apart(sources(**options))


NULL = {"projector": {"image": None, "text": None}, "logit_scale": None, "embedding_dim": 24}


@pytest.fixture
def pair(tmp_path):
    """A small CLIP with a scale and a bias of its own, the file of its weights, and the name of its config."""
    model = make_clip()
    with torch.no_grad():
        model.logit_scale.fill_(3.5)
    file = tmp_path / "clip.safetensors"
    save_file({**model.state_dict(), "logit_bias": torch.tensor(-8.0)}, file)
    return model, file, written(tmp_path, CONFIG)


def siglip(bias):
    losses = load_params(PARAMS)["losses"]
    losses["siglip"]["bias"] = bias
    return LossesParams.model_validate(losses)


def test_a_pair_is_untouched_before_the_first_step(pair):
    theirs, file, config = pair
    towers, params = resolved(config, file), make_model_params(**NULL)
    model = build_model(describe(params, towers, True, []), towers).eval()
    assert model.logit_scale.item() == pytest.approx(3.5)
    assert model.description["projector"]["image"] == model.description["projector"]["text"] == "none"
    ids = torch.tensor([[1, 5, 9, 49407], [1, 7, 49407, 0]])
    padded = functional.pad(ids, (0, 73))
    with torch.no_grad():
        text = model.embed_text(model.encode_text(ids, ids != 0))
        assert torch.allclose(text, functional.normalize(theirs.encode_text(padded), dim=-1), atol=1e-5)
    assert settle_bias(siglip(None), settle_heads(params, towers), towers).siglip.bias == -8.0
    assert not pair_warnings(settle_heads(params, towers), towers)


def test_what_params_name_wins_and_is_warned_of(pair):
    _, file, config = pair
    towers = resolved(config, file)
    named = {"projector": {"image": None, "text": "mlp"}, "logit_scale": 1.5}
    params = settle_heads(make_model_params(**named), towers)
    assert (params.projector.image, params.projector.text, params.logit_scale) == ("none", "mlp", 1.5)
    assert settle_bias(siglip(-3.0), params, towers).siglip.bias == -3.0
    assert settle_bias(siglip(None), params, towers).siglip.bias == -10.0
    (warning,) = pair_warnings(params, towers)
    assert warning.startswith("text: model.projector = mlp puts a new random projection on towers that were trained")


def test_a_pair_of_another_width_says_which(pair):
    _, file, config = pair
    towers = resolved(config, file)
    with pytest.raises(ValueError, match="model.embedding_dim = 128, but they have 24 dims"):
        build_model(describe(make_model_params(**{**NULL, "embedding_dim": 128}), towers, True, []), towers)


def test_towers_that_are_no_pair_get_linear_projectors(pair):
    _, _, config = pair
    towers = resolved(config, None)
    params = settle_heads(make_model_params(**NULL), towers)
    assert (params.projector.image, params.projector.text, params.logit_scale) == ("linear", "linear", 2.6593)
    assert settle_bias(siglip(None), params, towers).siglip.bias == -10.0
    assert not pair_warnings(params, towers)


@pytest.mark.parametrize(
    ("text", "fusion", "setting", "way"),
    [
        ({"pooling": "mean"}, "late", "model.text.pooling = mean", "the pooling that their weights were trained with"),
        ({"pooling": "attentive"}, "late", "model.text.pooling = attentive", "the pooling that"),
        ({}, "early", "model.fusion = early", "model.fusion = late"),
    ],
)
def test_a_pair_that_is_pooled_in_another_way_is_no_pair_and_is_warned_of(pair, text, fusion, setting, way):
    _, file, config = pair
    towers = resolved(config, file, text=text, fusion=fusion)
    params = settle_heads(make_model_params(text=text, fusion=fusion, **NULL), towers)
    assert (params.projector.image, params.projector.text, params.logit_scale) == ("linear", "linear", 2.6593)
    (warning,) = pair_warnings(params, towers)
    assert (
        warning.startswith(f"image and text: {setting} is not how these towers") and f"alignment; set {way}" in warning
    )

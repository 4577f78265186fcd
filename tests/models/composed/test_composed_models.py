"""Composed models: formulas against slow ones, what each needs, saving and loading, and messages."""

import json
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from composed_settings import WIDTHS, composed_inputs, composed_model, composed_params
from torch.nn.functional import normalize

from pipeline_lib.losses.composed_build import COMPOSED_LOSSES, composed_loss_weights
from pipeline_lib.models.composed.build import COMPOSED_MODELS, resolve_composed
from pipeline_lib.models.composed.fusions import FUSIONS
from pipeline_lib.models.composed.inputs import ComposedInputs, StoredWidths
from pipeline_lib.models.composed.saved import load_composed, save_composed
from pipeline_lib.models.scale_bounds import bounded_scales
from pipeline_lib.params.composed import ComposedFusion, ComposedKind

EVERY = [(kind, fusion) for kind in COMPOSED_MODELS for fusion in FUSIONS]


def test_registries_equal_the_kinds_params_allow():
    assert set(COMPOSED_MODELS) == set(get_args(ComposedKind)) and set(FUSIONS) == set(get_args(ComposedFusion))


@torch.no_grad()
def test_the_sum_of_one_joint_space_starts_as_the_plain_sum(tiny_text_folder):
    joint = StoredWidths(image=16, text=16)
    model = composed_model("sum", tiny_text_folder, widths=joint)
    inputs = composed_inputs(4, widths=replace(joint, tokens=1))
    query = model.compose(inputs).query
    for row in range(4):
        plain = normalize(inputs.image[row], dim=0) + normalize(inputs.text[row], dim=0)
        torch.testing.assert_close(query[row], plain / plain.norm())
    torch.testing.assert_close(model.encode_targets(inputs)[:, 0], normalize(inputs.image, dim=-1))


@torch.no_grad()
def test_the_combiner_equals_its_formula(tiny_text_folder):
    model, inputs = composed_model("combiner", tiny_text_folder).eval(), composed_inputs(4)
    own = model.state_dict()

    def layer(name, values):
        return own[f"{name}.weight"] @ values + own[f"{name}.bias"]

    for row, query in enumerate(model.compose(inputs).query):
        image = normalize(own["image_projection.weight"] @ inputs.image[row], dim=0)
        text = normalize(own["text_projection.weight"] @ inputs.text[row], dim=0)
        both = torch.cat([layer("text_layer.0", text).relu(), layer("image_layer.0", image).relu()])
        g = torch.sigmoid(layer("weight.3", layer("weight.0", both).relu()))
        mixed = layer("mixture.3", layer("mixture.0", both).relu()) + g * text + (1 - g) * image
        torch.testing.assert_close(query, mixed / mixed.norm())


@pytest.mark.parametrize(("kind", "fusion"), EVERY)
def test_a_model_reads_only_what_it_says_it_needs(kind, fusion, tiny_text_folder):
    model = composed_model(kind, tiny_text_folder, fusion=fusion).eval()
    full = composed_inputs(3)

    def only(names):
        return ComposedInputs(**{name: getattr(full, name) for name in names})

    pairs = model(only(model.needs), only(model.target_needs))
    assert set(pairs.extra) - {"gate"} == model.gives
    vectors = 3 if kind == "q_former" else 1
    assert pairs.query.shape == (3, 16) and pairs.targets.shape == (3, vectors, 16)
    for unit in (pairs.query, pairs.targets):
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(unit.shape[:-1]))
    for name in model.needs - {"token_mask"}:
        with pytest.raises(ValueError, match=f"reads .*, but the inputs have no {name}"):
            model.compose(only(model.needs - {name}))


@torch.no_grad()
def test_half_precision_stores_give_the_same_query_up_to_their_rounding(tiny_text_folder):
    model, full = composed_model("q_former", tiny_text_folder).eval(), composed_inputs(3)
    half = replace(full, tokens=full.tokens.half())
    torch.testing.assert_close(model.compose(half).query, model.compose(full).query, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("kind", "fusion"), [("sum", "none"), ("combiner", "guided"), ("q_former", "gated")])
def test_a_saved_model_is_the_same_and_needs_no_other_file(kind, fusion, tiny_text_folder, tmp_path):
    losses = {**dict.fromkeys(COMPOSED_LOSSES, 0.0), "composed_contrast": 1.0, "patch_contrast": 0.5}
    model = composed_model(kind, tiny_text_folder, fusion=fusion, losses=losses).eval()
    json.dumps(model.description)
    fingerprint = save_composed(tmp_path / "model", model, {"fold": 0})
    loaded = load_composed(tmp_path / "model")
    assert loaded.fingerprint == fingerprint and loaded.card["run"] == {"fold": 0}
    inputs = composed_inputs(3)
    with torch.no_grad():
        assert torch.equal(loaded.model.compose(inputs).query, model.compose(inputs).query)
        assert torch.equal(loaded.model.encode_targets(inputs), model.encode_targets(inputs))
        assert torch.equal(loaded.model.encode_patches(inputs), model.encode_patches(inputs))
    again = save_composed(tmp_path / "again", loaded.model, {"fold": 0})
    names = ("model.safetensors", "model.json")
    assert again == fingerprint
    assert all((tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes() for name in names)
    assert (loaded.tokenizer is not None) == (kind == "q_former")


def test_another_card_is_refused(tiny_text_folder, tmp_path):
    save_composed(tmp_path, composed_model("sum", tiny_text_folder), {})
    card = json.loads((tmp_path / "model.json").read_text())
    card["description"]["embedding_dim"] = 8
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="the weights do not fit SumModel: 2 of another shape, e.g. image_projection"):
        load_composed(tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("q_former", {}, "plan.composed has q_former, which reads image tokens; set features.trunk.at = tokens"),
        ("sum", {"fusion": "gated"}, "composed.fusion = gated, which reads image tokens"),
        (
            "combiner",
            {"losses": dict.fromkeys(COMPOSED_LOSSES, 0.2)},
            "patch_contrast = 0.2, which reads",
        ),
    ],
)
def test_without_stored_tokens_a_model_says_which_setting_to_change(kind, changes, text, tiny_text_folder):
    with pytest.raises(ValueError, match=text):
        resolve_composed(kind, composed_params(**changes), StoredWidths(12, 10), str(tiny_text_folder))


@pytest.mark.parametrize(
    ("q_former", "text"),
    [
        ({"frozen": True}, "frozen = true, but its weights are random"),
        ({"width": 30, "heads": 4}, "heads = 4 does not divide its width = 30"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(q_former, text, tiny_text_folder):
    with pytest.raises(ValueError, match=text):
        resolve_composed("q_former", composed_params(q_former=q_former), WIDTHS, str(tiny_text_folder))


def test_the_width_of_guided_fusion_is_whole_heads(tiny_text_folder):
    with pytest.raises(ValueError, match=r"composed.fusion_width = 200 is not a multiple of 64"):
        composed_model("sum", tiny_text_folder, fusion="guided", fusion_width=200)


def test_the_scale_is_bounded(tiny_text_folder):
    scales = bounded_scales(composed_model("sum", tiny_text_folder))
    assert [span for _, span in scales] == [(0.0, 4.6052)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_q_former_learns_what_only_the_reference_tells(seed, tiny_text_folder):
    """Every query has the same sentence, so the loss falls below chance, ln 8, only by way of the reference's image."""
    model = composed_model("q_former", tiny_text_folder, seed, q_former={"layers": 1, "dropout": 0.0}).train()
    reference, target = composed_inputs(8, seed=4), composed_inputs(8, seed=5)
    same = {name: getattr(reference, name)[:1].expand(8, -1) for name in ("token_ids", "token_mask")}
    reference = replace(reference, **same)
    weights = composed_loss_weights(composed_params().losses, model.gives)
    assert weights == {"composed_contrast": 1.0, "prompt_contrast": 0.4, "query_alignment": 0.4}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(80):
        pairs = model(reference, target)
        losses = {name: COMPOSED_LOSSES[name](pairs) for name in weights}
        optimizer.zero_grad()
        sum(weight * losses[name] for name, weight in weights.items()).backward()
        optimizer.step()
    chance = math.log(8)
    assert losses["composed_contrast"].item() < 0.2 * chance
    # The prompt query does not see the reference, so it cannot be better than chance.
    assert losses["prompt_contrast"].item() > 0.99 * chance

import math

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import load_file

from pipeline_lib.batch import Batch
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import WEIGHTS, load_model, read_card, save_model, write_model_files
from pipeline_lib.models.scale_bounds import MAX_LOG_SCALE, bounded_scales, clamp_scales
from pipeline_lib.towers.kinds import resolve_towers


def build(image, text, retrieval=True, classes=("a", "b", "c"), inputs="concat", **changes):
    classifier = {"kind": "mlp", "inputs": inputs, "hidden": 12, "dropout": 0.1, "scale": 10.0}
    params = make_model_params({"name": str(image)}, {"name": str(text)}, classifier=classifier, **changes)
    sources = resolve_towers(params)
    return build_model(describe(params, sources, retrieval, list(classes)), sources).eval()


def batch(count=4):
    rows = torch.arange(count)
    return Batch(
        product=rows,
        group=rows,
        text=rows,
        has_text=torch.ones(count, dtype=torch.bool),
        label=rows % 3,
        pixels=torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8),
        token_ids=torch.randint(4, 16, (count, 6)),
        token_mask=torch.ones(count, 6, dtype=torch.bool),
    )


def test_stored_features_give_the_outputs_of_pixels_and_tokens(tiny_image_folder, tiny_text_folder):
    model, full = build(tiny_image_folder, tiny_text_folder), batch()
    with torch.no_grad():
        features = model.features(full)
        keys = {name: getattr(full, name) for name in ("product", "group", "text", "has_text", "label")}
        stored = Batch(**keys, image_features=features["image"], text_features=features["text"])
        one, other = model(full), model(stored)
    assert torch.equal(one.image_embedding, other.image_embedding)
    assert torch.equal(one.class_logits, other.class_logits)


def test_embeddings_have_unit_length_and_the_scale_is_the_exponential(tiny_image_folder, tiny_text_folder):
    model = build(tiny_image_folder, tiny_text_folder)
    with torch.no_grad():
        model.logit_scale.fill_(3)
        outputs = model(batch())
    assert torch.allclose(outputs.image_embedding.norm(dim=1), torch.ones(4), atol=1e-5)
    assert outputs.logit_scale.item() == pytest.approx(math.exp(3))


@pytest.mark.parametrize(("retrieval", "classes"), [(True, ()), (False, ("a", "b"))])
def test_a_model_has_only_the_heads_that_losses_train(tiny_image_folder, tiny_text_folder, retrieval, classes):
    model = build(tiny_image_folder, tiny_text_folder, retrieval, classes)
    outputs = model(batch())
    assert (outputs.image_embedding is not None) is retrieval
    assert (outputs.class_logits is not None) is bool(classes)
    names = {name.split(".")[1] for name, _ in model.head_parameters() if name.startswith("head.")}
    assert names == ({"image_projection", "text_projection"} if retrieval else {"classifier"})


@pytest.mark.parametrize(
    ("inputs", "image_matters", "text_matters"), [("image", 1, 0), ("text", 0, 1), ("concat", 1, 1)]
)
def test_the_classifier_reads_only_its_inputs(tiny_image_folder, tiny_text_folder, inputs, image_matters, text_matters):
    model = build(tiny_image_folder, tiny_text_folder, inputs=inputs)
    features = {"image": torch.randn(2, model.image.dim), "text": torch.randn(2, model.text.dim)}
    with torch.no_grad():
        before = model.classify(features)
        for name, matters in (("image", image_matters), ("text", text_matters)):
            other = {**features, name: features[name] + torch.randn_like(features[name])}
            assert (not torch.allclose(before, model.classify(other))) is bool(matters)


def test_a_saved_model_is_loaded_without_its_pretrained_weights(tiny_image_folder, tiny_text_folder, tmp_path):
    model, inputs = build(tiny_image_folder, tiny_text_folder), batch()
    identity = save_model(tmp_path / "m", model, {"fold": 0})
    loaded = load_model(tmp_path / "m")
    assert loaded.fingerprint == identity and loaded.card["run"] == {"fold": 0}
    with torch.no_grad():
        assert torch.equal(model(inputs).class_logits, loaded.model(inputs).class_logits)
    save_model(tmp_path / "n", loaded.model, {"fold": 0})
    for file in (tmp_path / "m").iterdir():
        assert file.read_bytes() == (tmp_path / "n" / file.name).read_bytes()


def test_other_weights_have_another_fingerprint(tiny_image_folder, tiny_text_folder, tmp_path):
    model = build(tiny_image_folder, tiny_text_folder)
    first = save_model(tmp_path / "m", model, {})
    with torch.no_grad():
        model.logit_scale.add_(1)
    assert save_model(tmp_path / "m", model, {}) != first


def test_a_damaged_model_is_refused(tiny_image_folder, tiny_text_folder, tmp_path):
    save_model(tmp_path, build(tiny_image_folder, tiny_text_folder), {})
    state = load_file(tmp_path / WEIGHTS)
    state.pop("logit_scale")
    write_model_files(tmp_path, state, read_card(tmp_path))
    with pytest.raises(ValueError, match=r"1 missing, e\.g\. logit_scale"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="no trained model here"):
        load_model(tmp_path / "nowhere")


def test_embeddings_for_the_dot_product_are_not_normalised(tiny_image_folder, tiny_text_folder):
    cosine = build(tiny_image_folder, tiny_text_folder)
    dot = build(tiny_image_folder, tiny_text_folder, similarity="dot")
    dot.load_state_dict(cosine.state_dict())
    with torch.no_grad():
        inputs = batch()
        unit, raw = cosine(inputs).text_embedding, dot(inputs).text_embedding
    assert torch.allclose(raw / raw.norm(dim=1, keepdim=True), unit, atol=1e-6)
    assert not torch.allclose(raw, unit, atol=0.01)


@pytest.mark.parametrize(
    ("kind", "shape", "learned"), [("fixed", (), 0), ("learned", (), 1), ("per_direction", (2,), 2)]
)
def test_temperatures(tiny_image_folder, tiny_text_folder, tmp_path, kind, shape, learned):
    model = build(tiny_image_folder, tiny_text_folder, temperature=kind, classes=())
    count = sum(value.numel() for name, value in model.head_parameters() if name == "logit_scale")
    assert count == learned
    with torch.no_grad():
        assert model(batch()).logit_scale.shape == shape
        assert torch.allclose(model(batch()).logit_scale, torch.tensor(2.6593).exp().expand(shape))
        model.logit_scale.copy_(torch.tensor([5.0, -1.0]) if shape else torch.tensor(5.0))
        scale = model(batch()).logit_scale.flatten().tolist()
        clamp_scales(bounded_scales(model))
    assert scale == pytest.approx([math.exp(5), math.exp(-1)] if shape else [math.exp(5)])
    bounded = {"fixed": [5.0], "learned": [MAX_LOG_SCALE], "per_direction": [MAX_LOG_SCALE, 0.0]}
    assert model.logit_scale.flatten().tolist() == pytest.approx(bounded[kind])
    save_model(tmp_path, model, {})
    assert torch.equal(load_model(tmp_path).model.logit_scale, model.logit_scale)


def test_each_temperature_has_its_own_gradient(tiny_image_folder, tiny_text_folder):
    model = build(tiny_image_folder, tiny_text_folder, temperature="per_direction", classes=())
    (model(batch()).logit_scale * torch.tensor([2.0, 3.0])).sum().backward()
    assert model.logit_scale.grad.tolist() == pytest.approx([2 / 0.07, 3 / 0.07], rel=1e-3)


def test_missing_keys_of_a_description_have_defaults(tiny_image_folder, tiny_text_folder):
    model = build(tiny_image_folder, tiny_text_folder)
    model_wide = ("projector", "fusion", "similarity", "temperature")
    old = {key: value for key, value in model.description.items() if key not in model_wide}
    for tower, keys in (
        ("image", ("feature", "pooling", "classes", "out_dim", "tokens")),
        ("text", ("tokens", "projection")),
    ):
        old[tower] = {key: value for key, value in old[tower].items() if key not in keys}
    rebuilt = build_model(old).eval()
    rebuilt.load_state_dict(model.state_dict())
    inputs = batch()
    with torch.no_grad():
        assert torch.equal(model(inputs).image_embedding, rebuilt(inputs).image_embedding)


def test_a_tower_never_gets_random_weights_by_accident(tiny_image_folder, tiny_text_folder, tmp_path):
    """Missing weights are an error; random ones need `pretrained: false`."""
    (tmp_path / "config.json").write_bytes((tiny_image_folder / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"no such \.safetensors file"):
        build(tmp_path, tiny_text_folder)
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_bytes((tiny_text_folder / "config.json").read_bytes())
    with pytest.raises(ValueError, match="cannot load the weights"):
        build(tiny_image_folder, text)

"""The classifier against its formulas, and its default against a plain Sequential."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline_lib.models.classifier import CLASSIFIER_INPUTS, CLASSIFIERS, Classifier, ClassifierConfig

DIMS = {"image": 6, "text": 4}


def build(dims=DIMS, **changes):
    torch.manual_seed(5)
    config = ClassifierConfig(**{"inputs": "concat", "hidden": 8, "dropout": 0.0, **changes})
    return Classifier(config, dims, 3).eval()


def drawn(dims=DIMS, rows=5):
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(rows, dim, generator=rng) for name, dim in dims.items()}


def normed(features):
    return {name: functional.layer_norm(value, value.shape[-1:]) for name, value in features.items()}


def test_the_default_equals_the_plain_sequential_bit_for_bit_and_in_names():
    classifier = build(dropout=0.1)
    torch.manual_seed(5)
    norms = nn.ModuleDict({name: nn.LayerNorm(DIMS[name]) for name in ("image", "text")})
    layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(10, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 3))
    plain = nn.ModuleDict({"norms": norms, "layers": layers}).eval().state_dict()
    assert list(classifier.state_dict()) == list(plain)
    assert all(value.equal(plain[name]) for name, value in classifier.state_dict().items())
    features = drawn()
    joined = torch.cat([norms[name](features[name]) for name in DIMS], dim=-1)
    assert classifier(features).equal(layers.eval()(joined))


def test_the_gate_weights_each_unit_of_both_towers():
    joint, features = build(inputs="gated").joint, normed(drawn())
    gated = joint(features)
    for row in range(5):
        image, text = features["image"][row], features["text"][row]
        for unit in range(8):
            gate = torch.sigmoid(joint.gate.weight[unit] @ torch.cat([image, text]))
            expected = gate * torch.tanh(joint.image.weight[unit] @ image)
            expected += (1 - gate) * torch.tanh(joint.text.weight[unit] @ text)
            assert float(gated[row, unit].detach()) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_the_sum_adds_equal_dims_directly_and_maps_unequal_ones():
    equal = build(inputs="sum", dims={"image": 4, "text": 4}).joint
    features = drawn({"image": 4, "text": 4})
    assert equal.width == 4 and not list(equal.parameters())
    assert equal(features).equal(features["image"] + features["text"])
    mapped, features = build(inputs="sum").joint, drawn()
    maps = mapped.ways_in
    expected = features["image"] @ maps["image"].weight.T + maps["image"].bias
    expected = expected + features["text"] @ maps["text"].weight.T + maps["text"].bias
    assert mapped.width == 8 and torch.allclose(mapped(features), expected, atol=1e-6)


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_classifier_of_one_tower_ignores_the_other(side):
    features = {side: drawn()[side]}
    assert build(inputs=side)(features).equal(build(inputs=side)(drawn()))


def test_cosines_are_scaled_and_independent_of_length():
    classifier, features = build(kind="cosine", scale=7.0), drawn()
    joined = torch.cat(list(normed(features).values()), dim=-1)
    expected = 7.0 * functional.cosine_similarity(joined[:, None], classifier.layers[1].weight[None], dim=-1)
    assert torch.allclose(classifier(features), expected, atol=1e-5)
    layer = classifier.layers[1]
    assert torch.allclose(layer(joined), layer(3 * joined), atol=1e-5) and layer.scale.requires_grad


def test_linear_is_one_map():
    classifier, features = build(kind="linear"), drawn()
    joined = torch.cat(list(normed(features).values()), dim=-1)
    weight, bias = classifier.layers[1].parameters()
    assert torch.allclose(classifier(features), joined @ weight.T + bias, atol=1e-6)


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("inputs", CLASSIFIER_INPUTS)
def test_every_weight_of_every_kind_is_trained(kind, inputs):
    classifier = build(kind=kind, inputs=inputs)
    functional.cross_entropy(classifier(drawn()), torch.tensor([0, 1, 2, 1, 0])).backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in classifier.parameters())

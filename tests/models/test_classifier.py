"""The classifier against its formulas, and against the one kind there was before."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline_lib.models.classifier import CLASSIFIER_INPUTS, CLASSIFIERS, Classifier

DIMS = {"image": 6, "text": 4}


def made(**changes):
    torch.manual_seed(5)
    settings = {"inputs": "concat", "dims": DIMS, "hidden": 8, "dropout": 0.0, "classes": 3, **changes}
    return Classifier(**settings).eval()


def drawn(dims=DIMS, rows=5):
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(rows, dim, generator=rng) for name, dim in dims.items()}


def normed(features):
    return {name: functional.layer_norm(value, value.shape[-1:]) for name, value in features.items()}


def test_the_default_is_bit_for_bit_what_it_was_and_keeps_its_names():
    found = made(dropout=0.1)
    torch.manual_seed(5)
    norms = nn.ModuleDict({name: nn.LayerNorm(DIMS[name]) for name in ("image", "text")})
    layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(10, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 3))
    before = nn.ModuleDict({"norms": norms, "layers": layers}).eval().state_dict()
    assert list(found.state_dict()) == list(before)
    assert all(value.equal(before[name]) for name, value in found.state_dict().items())
    features = drawn()
    joined = torch.cat([norms[name](features[name]) for name in DIMS], dim=-1)
    assert found(features).equal(layers.eval()(joined))


def test_the_gate_weighs_each_unit_of_both_sides():
    joint, features = made(inputs="gated").joint, normed(drawn())
    found = joint(features)
    for row in range(5):
        image, text = features["image"][row], features["text"][row]
        for unit in range(8):
            gate = torch.sigmoid(joint.gate.weight[unit] @ torch.cat([image, text]))
            wanted = gate * torch.tanh(joint.image.weight[unit] @ image)
            wanted += (1 - gate) * torch.tanh(joint.text.weight[unit] @ text)
            assert float(found[row, unit].detach()) == pytest.approx(float(wanted.detach()), abs=1e-5)


def test_the_sum_adds_equal_widths_as_they_are_and_maps_unequal_ones():
    equal = made(inputs="sum", dims={"image": 4, "text": 4}).joint
    features = drawn({"image": 4, "text": 4})
    assert equal.width == 4 and not list(equal.parameters())
    assert equal(features).equal(features["image"] + features["text"])
    mapped, features = made(inputs="sum").joint, drawn()
    ways = mapped.ways_in
    wanted = features["image"] @ ways["image"].weight.T + ways["image"].bias
    wanted = wanted + features["text"] @ ways["text"].weight.T + ways["text"].bias
    assert mapped.width == 8 and torch.allclose(mapped(features), wanted, atol=1e-6)


@pytest.mark.parametrize("side", ["image", "text"])
def test_one_side_alone_is_read_alone(side):
    features = {side: drawn()[side]}
    assert made(inputs=side)(features).equal(made(inputs=side)(drawn()))


def test_cosines_are_scaled_and_blind_to_length():
    classifier, features = made(kind="cosine", scale=7.0), drawn()
    joined = torch.cat(list(normed(features).values()), dim=-1)
    wanted = 7.0 * functional.cosine_similarity(joined[:, None], classifier.layers[1].weight[None], dim=-1)
    assert torch.allclose(classifier(features), wanted, atol=1e-5)
    layer = classifier.layers[1]
    assert torch.allclose(layer(joined), layer(3 * joined), atol=1e-5) and layer.scale.requires_grad


def test_linear_is_one_map():
    classifier, features = made(kind="linear"), drawn()
    joined = torch.cat(list(normed(features).values()), dim=-1)
    weight, bias = classifier.layers[1].parameters()
    assert torch.allclose(classifier(features), joined @ weight.T + bias, atol=1e-6)


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("inputs", CLASSIFIER_INPUTS)
def test_every_weight_of_every_kind_is_trained(kind, inputs):
    classifier = made(kind=kind, inputs=inputs)
    functional.cross_entropy(classifier(drawn()), torch.tensor([0, 1, 2, 1, 0])).backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in classifier.parameters())

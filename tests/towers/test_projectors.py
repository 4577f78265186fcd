import pytest
import torch
from torch.nn import functional

from pipeline_lib.towers.projectors import projections


def shapes(heads):
    return {name: [tuple(value.shape) for value in module.parameters()] for name, module in heads.items()}


@pytest.mark.parametrize(
    ("kinds", "shared", "expected"),
    [
        (("linear", "linear"), False, {"image_projection": [(4, 6)], "text_projection": [(4, 6)]}),
        (("none", "mlp"), False, {"image_projection": [], "text_projection": [(5, 6), (4, 5)]}),
        (("mlp", "mlp"), True, {"projection": [(5, 6), (4, 5)]}),
    ],
)
def test_each_projector_has_exactly_these_matrices(kinds, shared, expected):
    dims = {"image": 4 if kinds[0] == "none" else 6, "text": 6}
    assert shapes(projections(dict(zip(dims, kinds, strict=True)), dims, 4, 5, shared)) == expected


def test_two_layers_by_hand():
    module = projections({"image": "mlp", "text": "mlp"}, {"image": 3, "text": 3}, 2, 4, True)["projection"]
    first, second = module.parameters()
    features = torch.randn(5, 3)
    assert torch.allclose(module(features), functional.gelu(features @ first.T) @ second.T, atol=1e-6)


@pytest.mark.parametrize(
    ("kinds", "dims", "message"),
    [
        (("linear", "linear"), (3, 4), "shared = true needs equal feature dims of both towers, they are 3 and 4"),
        (("linear", "mlp"), (3, 3), "shared = true needs equal kinds of both towers, they are linear and mlp"),
        (("none", "none"), (3, 3), "projector none needs features of model.embedding_dim = 2, but they have 3"),
    ],
)
def test_an_impossible_projector_is_refused(kinds, dims, message):
    named = [dict(zip(("image", "text"), values, strict=True)) for values in (kinds, dims)]
    with pytest.raises(ValueError, match=message):
        projections(*named, 2, 4, True)

import math

import pytest
import torch
from drawn_pairs import batch, drawn_ignore, loss_params, outputs, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.head_alignment import alignment, uniformity


def distance(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def slow(embedding, ignore):
    count = len(embedding)
    terms = [
        math.exp(-2 * distance(embedding[i], embedding[j]))
        for i in range(count)
        for j in range(count)
        if i != j and not ignore[i][j]
    ]
    return math.log(sum(terms) / len(terms)) if terms else 0.0


@settings(max_examples=25)
@given(count=st.integers(1, 7), seed=st.integers(0, 99), share=st.floats(0, 1))
def test_equals_the_slow_loop(count, seed, share):
    image, text, ignore = unit(count, 5, seed), unit(count, 5, seed + 1), drawn_ignore(count, seed, share)
    pairs = [distance(a, b) for a, b in zip(image, text, strict=True)]
    assert float(alignment(image, text)) == pytest.approx(sum(pairs) / count, abs=1e-5)
    assert float(uniformity(image, ignore)) == pytest.approx(slow(image, ignore.tolist()), abs=1e-5)


def test_alignment_of_unit_vectors_is_two_minus_two_cosines():
    image, text = unit(6, 5, 1), unit(6, 5, 2)
    assert float(alignment(image, text)) == pytest.approx(2 - 2 * float((image * text).sum(1).mean()), abs=1e-5)


def test_the_closed_form_of_an_orthogonal_batch():
    """Orthogonal unit vectors have squared distance 2: u = log exp(-4) = -4. Equal embeddings have u = 0."""
    assert float(uniformity(torch.eye(4))) == pytest.approx(-4)
    assert float(uniformity(unit(1, 4, 0).expand(3, 4))) == pytest.approx(0, abs=1e-6)


def test_equal_embeddings_have_a_finite_gradient():
    same = unit(1, 4, 0).repeat(3, 1).requires_grad_()
    uniformity(same).backward()
    assert same.grad.isfinite().all()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_loss_is_alignment_plus_weighted_uniformity(share):
    params = loss_params(head_alignment={"weight": 1.0, "uniformity": share})
    image, text = unit(4, 5, 1), unit(4, 5, 2)
    ids = batch([0, 1, 2, 3], group=[0, 0, 2, 3], has_text=[True, True, True, False])
    loss = build_losses(params, ["head_alignment"])["head_alignment"](outputs(image, text), ids)
    ignore = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    both = uniformity(image[:3], ignore) + uniformity(text[:3], ignore)
    assert torch.allclose(loss, alignment(image[:3], text[:3]) + share * both / 2)


def test_a_batch_without_any_text_has_loss_0():
    params = loss_params(head_alignment={"weight": 1.0, "uniformity": 1.0})
    loss = build_losses(params, ["head_alignment"])["head_alignment"]
    assert float(loss(outputs(unit(2, 4, 1), unit(2, 4, 2)), batch([0, 1], has_text=[False, False]))) == 0

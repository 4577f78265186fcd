import itertools

import pytest
import torch
from drawn_pairs import batch, drawn_ignore, loss_params, outputs, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.triplet import triplet

MODES = list(itertools.product(("all", "hardest"), ("sum", "mean")))


def slow(image, text, margin, mining, reduction, ignore):
    """FIELD section 4, pair by pair."""
    count, terms = len(image), []
    score = [[float(image[i] @ text[j]) for j in range(count)] for i in range(count)]
    for a in range(count):
        others = [b for b in range(count) if b != a and not ignore[a][b]]
        texts = [max(0.0, margin + score[a][b] - score[a][a]) for b in others]
        images = [max(0.0, margin + score[b][a] - score[a][a]) for b in others]
        for losses in (texts, images):
            terms += ([max(losses)] if losses else []) if mining == "hardest" else losses
    return sum(terms) / (1 if reduction == "sum" else max(1, len(terms)))


@pytest.mark.parametrize(("mining", "reduction"), MODES)
@settings(max_examples=20)
@given(count=st.integers(1, 7), seed=st.integers(0, 99), share=st.floats(0, 1), margin=st.floats(0, 2))
def test_equals_the_slow_loop(mining, reduction, count, seed, share, margin):
    image, text, ignore = unit(count, 5, seed), unit(count, 5, seed + 1), drawn_ignore(count, seed, share)
    fast = triplet(image, text, margin, mining, reduction, ignore)
    assert float(fast) == pytest.approx(slow(image, text, margin, mining, reduction, ignore.tolist()), abs=1e-4)


@pytest.mark.parametrize(("mining", "reduction"), MODES)
def test_is_symmetric_in_its_towers(mining, reduction):
    image, text = unit(6, 4, 3), unit(6, 4, 4)
    one, other = triplet(image, text, 0.2, mining, reduction), triplet(text, image, 0.2, mining, reduction)
    assert float(one) == pytest.approx(float(other), rel=1e-6)


@pytest.mark.parametrize(
    ("mining", "reduction", "expected"),
    [("all", "sum", 1209.6), ("all", "mean", 0.15), ("hardest", "sum", 2 * 64 * 0.15), ("hardest", "mean", 0.15)],
)
def test_the_first_loss_of_log_b(mining, reduction, expected):
    """All similarities equal: 2 B (B - 1) m; B = 64 and m = .15 is the log's first figure."""
    same = unit(1, 16, 0).expand(64, 16)
    assert float(triplet(same, same, 0.15, mining, reduction)) == pytest.approx(expected, rel=1e-5)


def test_a_hand_worked_table():
    """Similarities [[.9, .8], [.1, .5]], m = .2: image 0 has .1, image 1 and text 0 have 0, text 1 has .5."""
    similarity = torch.tensor([[0.9, 0.8], [0.1, 0.5]])
    assert float(triplet(similarity, torch.eye(2), 0.2)) == pytest.approx(0.6)


def test_only_pairs_within_the_margin_have_a_gradient():
    image = torch.eye(3).requires_grad_()
    triplet(image, torch.eye(3), 0.5).backward()
    assert not image.grad.any()


@pytest.mark.parametrize(("mask", "positive"), [(True, False), (False, True)])
def test_products_with_one_text_are_negatives_only_without_the_mask(mask, positive):
    params = loss_params(triplet={"weight": 1.0, "mask_false_negatives": mask})
    same = unit(1, 4, 0).expand(2, 4)
    loss = build_losses(params, ["triplet"])["triplet"]
    assert (float(loss(outputs(same, same), batch([0, 1], text=[5, 5]))) > 0) is positive
    assert float(loss(outputs(same, same), batch([0, 1], has_text=[True, False]))) == 0
    assert float(loss(outputs(same, same), batch([0, 1], has_text=[False, False]))) == 0

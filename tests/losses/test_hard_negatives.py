import itertools
import math

import pytest
import torch
from drawn_pairs import batch, drawn_ignore, loss_params, outputs, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.hard_negatives import CHOICES, FORMS, hard_negatives
from pipeline_lib.losses.info_nce import info_nce

WAYS = list(itertools.product(CHOICES, FORMS))


def params(**changes):
    return loss_params(hard_negatives={"weight": 1.0, **changes}).hard_negatives


def chosen(scores, positive, others, way):
    """The negatives of one anchor, chosen by hand."""
    ranked = sorted(others, key=lambda j: -scores[j])
    if way.negatives == "hardest":
        return ranked[:1]
    if way.negatives == "band":
        return ranked[way.band_from - 1 : way.band_to]
    return [j for j in others if positive - way.margin < scores[j] < positive]


def slow(image, text, scale, way, ignore):
    count, total = len(image), 0.0
    for anchors, keys in ((image, text), (text, image)):
        for i in range(count):
            scores = [float(anchors[i] @ keys[j]) for j in range(count)]
            kept = chosen(scores, scores[i], [j for j in range(count) if j != i and not ignore[i][j]], way)
            if way.form == "contrastive":
                total += math.log(sum(math.exp(scale * (scores[j] - scores[i])) for j in [i, *kept]))
            elif kept:
                total += sum(max(0.0, way.margin + scores[j] - scores[i]) for j in kept) / len(kept)
    return total / (2 * count)


@pytest.mark.parametrize(("negatives", "form"), WAYS)
@settings(max_examples=20)
@given(count=st.integers(1, 8), seed=st.integers(0, 99), share=st.floats(0, 1), first=st.integers(1, 4))
def test_equals_the_slow_loop(negatives, form, count, seed, share, first):
    way = params(negatives=negatives, form=form, margin=0.4, band_from=first, band_to=first + 1)
    image, text, ignore = unit(count, 5, seed), unit(count, 5, seed + 1), drawn_ignore(count, seed, share)
    found = hard_negatives(image, text, torch.tensor(6.0), way, ignore)
    assert float(found) == pytest.approx(slow(image, text, 6.0, way, ignore.tolist()), abs=1e-5)


def test_a_band_of_all_ranks_is_info_nce():
    image, text, ignore = unit(7, 5, 1), unit(7, 5, 2), drawn_ignore(7, 3, 0.2)
    way = params(negatives="band", band_from=1, band_to=99)
    for scale in (torch.tensor(6.0), torch.tensor([6.0, 11.0])):
        assert torch.allclose(hard_negatives(image, text, scale, way, ignore), info_nce(image, text, scale, ignore))


@pytest.mark.parametrize(("negatives", "form"), WAYS)
def test_is_symmetric_in_its_towers(negatives, form):
    way, scale = params(negatives=negatives, form=form), torch.tensor(5.0)
    image, text = unit(6, 4, 3), unit(6, 4, 4)
    assert torch.allclose(hard_negatives(image, text, scale, way), hard_negatives(text, image, scale, way))


def test_a_negative_beyond_its_positive_is_hardest_and_not_semi_hard():
    """One row of similarities (.5 its positive; .7, .4, .1): hardest takes .7, semi-hard with margin .2 takes .4."""
    similarity = torch.tensor([[0.5, 0.7, 0.4, 0.1]] * 4)
    similarity[1:] = torch.eye(4)[1:]
    counted = ~torch.eye(4, dtype=torch.bool)
    rows = {name: CHOICES[name](similarity, counted, params(margin=0.2))[0].tolist() for name in CHOICES}
    assert rows["hardest"] == [False, True, False, False]
    assert rows["semi_hard"] == [False, False, True, False]
    assert rows["band"] == [False, False, True, True]


def test_a_batch_whose_rows_are_all_one_product_costs_nothing():
    loss = build_losses(loss_params(hard_negatives={"weight": 1.0}), ["hard_negatives"])["hard_negatives"]
    assert float(loss(outputs(unit(3, 4, 1), unit(3, 4, 2)), batch([0, 1, 2], group=[5, 5, 5]))) == 0
    assert float(loss(outputs(unit(1, 4, 1), unit(1, 4, 2)), batch([0], has_text=[False]))) == 0


def test_a_band_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="band_from = 5 is greater than band_to = 2; swap them"):
        params(band_from=5, band_to=2)

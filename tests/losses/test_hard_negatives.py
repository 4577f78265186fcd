import itertools
import math

import pytest
import torch
from drawn_pairs import batch, drawn_ignore, loss_params, outputs, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.hard_negatives import FORMS, MINERS, hard_negatives
from pipeline_lib.losses.info_nce import info_nce

MODES = list(itertools.product(MINERS, FORMS))


def make_params(**changes):
    return loss_params(hard_negatives={"weight": 1.0, **changes}).hard_negatives


def select(scores, positive, others, params):
    """The selected negatives of one anchor, by hand."""
    ranked = sorted(others, key=lambda j: -scores[j])
    if params.negatives == "hardest":
        return ranked[:1]
    if params.negatives == "band":
        return ranked[params.band_from - 1 : params.band_to]
    return [j for j in others if positive - params.margin < scores[j] < positive]


def slow(image, text, scale, params, ignore):
    count, total = len(image), 0.0
    for anchors, keys in ((image, text), (text, image)):
        for i in range(count):
            scores = [float(anchors[i] @ keys[j]) for j in range(count)]
            selected = select(scores, scores[i], [j for j in range(count) if j != i and not ignore[i][j]], params)
            if params.form == "contrastive":
                total += math.log(sum(math.exp(scale * (scores[j] - scores[i])) for j in [i, *selected]))
            elif selected:
                total += sum(max(0.0, params.margin + scores[j] - scores[i]) for j in selected) / len(selected)
    return total / (2 * count)


@pytest.mark.parametrize(("negatives", "form"), MODES)
@settings(max_examples=20)
@given(count=st.integers(1, 8), seed=st.integers(0, 99), share=st.floats(0, 1), first=st.integers(1, 4))
def test_equals_the_slow_loop(negatives, form, count, seed, share, first):
    params = make_params(negatives=negatives, form=form, margin=0.4, band_from=first, band_to=first + 1)
    image, text, ignore = unit(count, 5, seed), unit(count, 5, seed + 1), drawn_ignore(count, seed, share)
    loss = hard_negatives(image, text, torch.tensor(6.0), params, ignore)
    assert float(loss) == pytest.approx(slow(image, text, 6.0, params, ignore.tolist()), abs=1e-5)


def test_a_band_of_all_ranks_is_info_nce():
    image, text, ignore = unit(7, 5, 1), unit(7, 5, 2), drawn_ignore(7, 3, 0.2)
    params = make_params(negatives="band", band_from=1, band_to=99)
    for scale in (torch.tensor(6.0), torch.tensor([6.0, 11.0])):
        assert torch.allclose(hard_negatives(image, text, scale, params, ignore), info_nce(image, text, scale, ignore))


@pytest.mark.parametrize(("negatives", "form"), MODES)
def test_is_symmetric_in_its_towers(negatives, form):
    params, scale = make_params(negatives=negatives, form=form), torch.tensor(5.0)
    image, text = unit(6, 4, 3), unit(6, 4, 4)
    assert torch.allclose(hard_negatives(image, text, scale, params), hard_negatives(text, image, scale, params))


def test_a_negative_beyond_its_positive_is_hardest_and_not_semi_hard():
    """One row of similarities (.5 its positive; .7, .4, .1): hardest takes .7, semi-hard with margin .2 takes .4."""
    similarity = torch.tensor([[0.5, 0.7, 0.4, 0.1]] * 4)
    similarity[1:] = torch.eye(4)[1:]
    negative = ~torch.eye(4, dtype=torch.bool)
    rows = {name: MINERS[name](similarity, negative, make_params(margin=0.2))[0].tolist() for name in MINERS}
    assert rows["hardest"] == [False, True, False, False]
    assert rows["semi_hard"] == [False, False, True, False]
    assert rows["band"] == [False, False, True, True]


def test_a_batch_of_one_group_has_loss_0():
    loss = build_losses(loss_params(hard_negatives={"weight": 1.0}), ["hard_negatives"])["hard_negatives"]
    assert float(loss(outputs(unit(3, 4, 1), unit(3, 4, 2)), batch([0, 1, 2], group=[5, 5, 5]))) == 0
    assert float(loss(outputs(unit(1, 4, 1), unit(1, 4, 2)), batch([0], has_text=[False]))) == 0


def test_a_band_with_its_end_before_its_start_is_refused():
    with pytest.raises(ValueError, match="band_from = 5 is greater than band_to = 2; swap them"):
        make_params(band_from=5, band_to=2)

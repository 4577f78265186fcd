import math

import pytest
import torch
from drawn_pairs import loss_params
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.build import build_losses, weights_of
from pipeline_lib.losses.cross_entropy import cross_entropy


def slow(logits, labels, smoothing):
    total, known = 0.0, 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label < 0:
            continue
        known += 1
        log_sum = math.log(sum(map(math.exp, row)))
        log_p = [value - log_sum for value in row]
        total += -(1 - smoothing) * log_p[label] - smoothing / len(row) * sum(log_p)
    return total / max(known, 1)


@settings(max_examples=25)
@given(labels=st.lists(st.integers(-1, 3), min_size=1, max_size=9), smoothing=st.floats(0, 0.9))
def test_equals_the_slow_loop(labels, smoothing):
    logits = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(len(labels)))
    found = cross_entropy(logits, torch.tensor(labels), smoothing)
    assert float(found) == pytest.approx(slow(logits, torch.tensor(labels), smoothing), abs=1e-5)


def test_no_known_label_costs_nothing_instead_of_nan():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([-1, -1, -1]))
    loss.backward()
    assert loss.item() == 0 and float(logits.grad.abs().sum()) == 0


def losses(info_nce, cross):
    return loss_params(info_nce={"weight": info_nce}, cross_entropy={"weight": cross})


def test_weight_zero_turns_a_loss_off():
    assert weights_of(losses(1.0, 0.0)) == {"info_nce": 1.0}
    assert list(build_losses(losses(1.0, 0.5), ["cross_entropy"])) == ["cross_entropy"]


def test_all_off_is_refused():
    with pytest.raises(ValueError, match=r"every weight under losses is 0 \(info_nce, cross_entropy, .*head_alignment"):
        weights_of(losses(0.0, 0.0))

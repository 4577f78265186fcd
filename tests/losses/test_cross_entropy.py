import math

import pytest
import torch
from drawn_pairs import loss_params
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.class_weights import class_weights
from pipeline_lib.losses.cross_entropy import CrossEntropy, cross_entropy
from pipeline_lib.params.heads import weights_of


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


def test_without_a_known_label_the_loss_is_0_and_not_nan():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([-1, -1, -1]))
    loss.backward()
    assert loss.item() == 0 and float(logits.grad.abs().sum()) == 0


def losses(info_nce, cross):
    return loss_params(info_nce={"weight": info_nce}, cross_entropy={"weight": cross})


def test_weight_zero_turns_a_loss_off():
    assert weights_of(losses(1.0, 0.0)) == {"info_nce": 1.0}
    assert list(build_losses(losses(1.0, 0.5), ["cross_entropy"])) == ["cross_entropy"]


def test_a_run_without_any_loss_is_refused():
    with pytest.raises(ValueError, match=r"every weight under losses is 0 \(info_nce, cross_entropy, .*head_alignment"):
        weights_of(losses(0.0, 0.0))


def params(**changes):
    plain = loss_params().cross_entropy.model_dump()
    return type(loss_params().cross_entropy).model_validate({**plain, "weight": 1.0, **changes})


def build(class_counts, **changes):
    return CrossEntropy(params(**changes), class_counts)


def batch_of(labels, **mixed):
    rows = torch.arange(len(labels))
    return Batch(rows, rows, rows, rows >= 0, torch.tensor(labels), **mixed)


def drawn(rows, classes=3):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(rows))


def test_balanced_and_effective_weights_by_hand():
    assert class_weights("none", [4, 1], 0.9).tolist() == [1, 1]
    # 6 products, 3 classes: 6 / (3 * n).
    assert class_weights("balanced", [4, 1, 1], 0.9).tolist() == pytest.approx([0.5, 2, 2])
    # beta 1/2: (1/2) / (1 - 1/4) = 2/3 and (1/2) / (1/2) = 1, which sum to 5/3, scaled to 2.
    assert class_weights("effective_number", [2, 1], 0.5).tolist() == pytest.approx([0.8, 1.2])
    assert class_weights("effective_number", [7, 2], 0.0).tolist() == [1, 1]
    assert class_weights("balanced", [3, 0], 0.9).tolist() == pytest.approx([4 / 6, 2])


@settings(max_examples=25)
@given(
    labels=st.lists(st.integers(-1, 2), min_size=1, max_size=9),
    smoothing=st.sampled_from([0.0, 0.2]),
    gamma=st.sampled_from([0.0, 0.5, 2.0]),
    kind=st.sampled_from(["none", "balanced"]),
)
def test_class_weights_and_focal_loss_equal_the_slow_loop(labels, smoothing, gamma, kind):
    logits, counts = drawn(len(labels)), [5, 2, 1]
    weights = [8 / 15, 8 / 6, 8 / 3] if kind == "balanced" else [1.0, 1.0, 1.0]
    total = norm = 0.0
    for row, label in zip(logits.tolist(), labels, strict=True):
        if label >= 0:
            log_p = [value - math.log(sum(map(math.exp, row))) for value in row]
            smoothed = -(1 - smoothing) * log_p[label] - smoothing / 3 * sum(log_p)
            total += weights[label] * (1 - math.exp(log_p[label])) ** gamma * smoothed
            norm += weights[label]
    loss = build(counts, label_smoothing=smoothing, focal_gamma=gamma, class_weights=kind)
    found = loss(Outputs(class_logits=logits), batch_of(labels))
    assert float(found) == pytest.approx(total / max(norm, 1e-9), abs=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_has_a_finite_gradient_where_the_class_is_certain(gamma):
    logits = torch.tensor([[80.0, 0.0, 0.0]], requires_grad=True)
    build([1, 1, 1], focal_gamma=gamma)(Outputs(class_logits=logits), batch_of([0])).backward()
    assert logits.grad.isfinite().all()


def test_the_loss_of_a_mixed_batch_is_that_of_its_soft_labels():
    logits, share = drawn(3), torch.tensor([0.3, 1.0, 0.5])
    batch = batch_of([0, 2, 1], mix_share=share, mixed_label=torch.tensor([1, 2, 2]))
    soft = torch.tensor([[0.3, 0.7, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]])
    expected = -(soft * logits.log_softmax(-1)).sum(-1).mean()
    assert float(build([5, 1, 1])(Outputs(class_logits=logits), batch)) == pytest.approx(float(expected), abs=1e-6)


def test_without_options_it_equals_the_plain_loss_bit_for_bit():
    logits, labels = drawn(7), [0, 1, -1, 2, 2, 0, 1]
    found = build([3, 2, 2], label_smoothing=0.1)(Outputs(class_logits=logits), batch_of(labels))
    assert found.equal(cross_entropy(logits, torch.tensor(labels), 0.1))

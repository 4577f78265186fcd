import math

import pytest
import torch
from drawn_pairs import batch, drawn_ignore, outputs, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.siglip import SigLIP, siglip


def slow(image, text, scale, bias, ignore):
    total = 0.0
    for i in range(len(image)):
        for j in range(len(image)):
            if i == j or not ignore[i][j]:
                logit = scale * float(image[i] @ text[j]) + bias
                total += math.log1p(math.exp(-logit if i == j else logit))
    return total / len(image)


@settings(max_examples=25)
@given(count=st.integers(1, 7), seed=st.integers(0, 99), share=st.floats(0, 1), bias=st.floats(-10, 2))
def test_equals_the_slow_loop(count, seed, share, bias):
    image, text, ignore = unit(count, 5, seed), unit(count, 5, seed + 1), drawn_ignore(count, seed, share)
    loss = siglip(image, text, torch.tensor(7.0), torch.tensor(bias), ignore)
    assert float(loss) == pytest.approx(slow(image, text, 7.0, bias, ignore.tolist()), abs=1e-4)


def test_equals_open_clip():
    from open_clip.loss import SigLipLoss

    image, text, scale, bias = unit(8, 16, 1), unit(8, 16, 2), torch.tensor(10.0), torch.tensor(-10.0)
    assert float(siglip(image, text, scale, bias)) == pytest.approx(float(SigLipLoss()(image, text, scale, bias)))


def test_two_scales_give_the_mean_of_both():
    image, text, bias = unit(5, 8, 1), unit(5, 8, 2), torch.tensor(-3.0)
    each = [float(siglip(image, text, torch.tensor(scale), bias)) for scale in (4.0, 9.0)]
    pair = siglip(image, text, torch.tensor([4.0, 9.0]), bias)
    assert float(pair) == pytest.approx(sum(each) / 2)


def test_a_masked_pair_has_no_gradient():
    image, text = unit(2, 4, 1).requires_grad_(), unit(2, 4, 2)
    siglip(image, text, torch.tensor(5.0), torch.tensor(0.0), torch.ones(2, 2, dtype=torch.bool)).backward()
    for row in range(2):
        pull = -5.0 * torch.sigmoid(-5.0 * image[row].detach() @ text[row]) * text[row] / 2
        assert torch.allclose(image.grad[row], pull, atol=1e-6)


def test_the_bias_is_learned_and_saved():
    """The bias has a gradient at -10 with ten negatives to a positive, and state_dict restores it."""
    loss = SigLIP(-10.0, True)
    loss(outputs(unit(11, 4, 1), unit(11, 4, 2)), batch(list(range(11)))).backward()
    assert loss.bias.grad.item() != 0
    with torch.no_grad():
        loss.bias.add_(1)
    other = SigLIP(-10.0, True)
    other.load_state_dict(loss.state_dict())
    assert other.bias.item() == -9.0


def test_a_batch_without_any_text_has_loss_0():
    loss = SigLIP(-10.0, True)(outputs(unit(2, 4, 1), unit(2, 4, 2)), batch([0, 1], has_text=[False, False]))
    assert loss.item() == 0

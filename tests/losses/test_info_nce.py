import math

import pytest
import torch
from drawn_pairs import batch, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.batch import Outputs
from pipeline_lib.losses.info_nce import InfoNCE, info_nce
from pipeline_lib.losses.pairs import false_negatives


def slow(image, text, scale, ignore):
    """The formula of the docstring, term by term."""
    count, total = len(image), 0.0
    score = [[scale * float(image[i] @ text[j]) for j in range(count)] for i in range(count)]
    for i in range(count):
        row = [score[i][j] for j in range(count) if j == i or not ignore[i][j]]
        column = [score[j][i] for j in range(count) if j == i or not ignore[j][i]]
        total += math.log(sum(map(math.exp, row))) - score[i][i]
        total += math.log(sum(map(math.exp, column))) - score[i][i]
    return total / (2 * count)


@settings(max_examples=25)
@given(count=st.integers(1, 7), seed=st.integers(0, 99), share=st.floats(0, 1))
def test_equals_the_slow_loop(count, seed, share):
    image, text = unit(count, 5, seed), unit(count, 5, seed + 1)
    ignore = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < share
    fast = info_nce(image, text, torch.tensor(7.0), ignore)
    assert float(fast) == pytest.approx(slow(image, text, 7.0, ignore.tolist()), abs=1e-5)


def test_equals_open_clip():
    from open_clip.loss import ClipLoss

    image, text = unit(8, 16, 1), unit(8, 16, 2)
    theirs = ClipLoss()(image, text, torch.tensor(14.0))
    assert float(info_nce(image, text, torch.tensor(14.0))) == pytest.approx(float(theirs), abs=1e-6)


@settings(max_examples=25)
@given(count=st.integers(1, 7), seed=st.integers(0, 99))
def test_each_of_two_scales_is_used_in_one_direction(count, seed):
    """Scales (text -> image, image -> text): the loss is the mean of both directions, each under its own scale."""
    image, text = unit(count, 5, seed), unit(count, 5, seed + 1)
    to_image, to_text = 4.0, 9.0
    total = 0.0
    for i in range(count):
        total += math.log(sum(math.exp(to_text * float(image[i] @ (text[j] - text[i]))) for j in range(count)))
        total += math.log(sum(math.exp(to_image * float(text[i] @ (image[j] - image[i]))) for j in range(count)))
    loss = info_nce(image, text, torch.tensor([to_image, to_text]))
    assert float(loss) == pytest.approx(total / (2 * count), abs=1e-5)


def test_two_equal_scales_are_one_scale_and_split_its_gradient():
    image, text, ignore = unit(6, 4, 1), unit(6, 4, 2), torch.rand(6, 6) < 0.3
    one, two = torch.tensor(5.0, requires_grad=True), torch.tensor([5.0, 5.0], requires_grad=True)
    single, double = info_nce(image, text, one, ignore), info_nce(image, text, two, ignore)
    (single + double).backward()
    assert torch.allclose(single, double)
    assert float(one.grad) == pytest.approx(float(two.grad.sum()), rel=1e-4)


def test_is_symmetric_in_its_towers():
    image, text, scale = unit(6, 4, 3), unit(6, 4, 4), torch.tensor(5.0)
    assert torch.allclose(info_nce(image, text, scale), info_nce(text, image, scale))


def test_equal_embeddings_have_loss_ln_of_the_batch_size():
    same = unit(1, 4, 0).expand(5, 4)
    assert float(info_nce(same, same, torch.tensor(3.0))) == pytest.approx(math.log(5), abs=1e-6)


def test_the_mask_removes_the_minimum_loss_of_five_captions():
    """FIELD section 2: five texts of one image in a batch have a minimum loss of ln 5; with the mask it is 0."""
    product = torch.arange(3).repeat_interleave(5)
    embedding = torch.eye(3)[product]
    ignore = product[:, None] == product[None, :]
    scale = torch.tensor(100.0)
    assert float(info_nce(embedding, embedding, scale)) == pytest.approx(math.log(5), abs=1e-4)
    assert float(info_nce(embedding, embedding, scale, ignore)) == pytest.approx(0, abs=1e-4)


def test_false_negatives_share_product_group_or_text():
    mask = false_negatives(batch([0, 0, 1, 2], [5, 5, 6, 7], [1, 2, 3, 3], [True] * 4))
    pairs = {(i, j) for i in range(4) for j in range(4) if i != j and mask[i, j]}
    assert pairs == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_products_without_text_are_left_out():
    image, text = unit(4, 8, 1), unit(4, 8, 2)
    outputs = Outputs(image_embedding=image, text_embedding=text, logit_scale=torch.tensor(9.0))
    loss = InfoNCE(True)(outputs, batch([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [True, False, True, True]))
    rows = [0, 2, 3]
    assert torch.allclose(loss, info_nce(image[rows], text[rows], torch.tensor(9.0)))


def test_a_batch_without_any_text_has_loss_0_and_a_gradient():
    image = unit(2, 4, 1).requires_grad_()
    outputs = Outputs(image_embedding=image, text_embedding=unit(2, 4, 2), logit_scale=torch.tensor(9.0))
    loss = InfoNCE(True)(outputs, batch([0, 1], [0, 1], [0, 0], [False, False]))
    loss.backward()
    assert loss.item() == 0 and torch.equal(image.grad, torch.zeros_like(image))

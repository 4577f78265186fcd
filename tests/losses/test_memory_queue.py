"""The memory queue equals InfoNCE until it is active, then a slow loop; with its defaults it does not collapse."""

import math
from dataclasses import replace

import pytest
import torch
from drawn_pairs import batch, loss_params, outputs, unit
from torch import nn
from torch.nn import functional

from pipeline_lib.losses.build import build_losses
from pipeline_lib.losses.info_nce import info_nce
from pipeline_lib.optim.param_groups import build_adamw, split_decay


def make(**changes):
    params = loss_params(memory_queue={"weight": 1.0, "start_epoch": 0, **changes})
    loss = build_losses(params, ["memory_queue"])["memory_queue"].train()
    loss.begin_epoch(0)
    return loss


def drawn(step, rows, **more):
    image, text = unit(len(rows), 6, 2 * step), unit(len(rows), 6, 2 * step + 1)
    return outputs(image, text, 7.0, **more), batch(rows)


def slow(now, ids, past, size, scale=7.0):
    """Both directions, term by term, over the batch and those of the last `size` pairs that are another product's."""
    queue = [
        (image, text, int(product))
        for earlier, batch_ids in past
        for image, text, product in zip(earlier.image_embedding, earlier.text_embedding, batch_ids.product, strict=True)
    ][-size:]
    count, total = len(ids.product), 0.0
    for side, (anchors, keys) in enumerate(
        ((now.image_embedding, now.text_embedding), (now.text_embedding, now.image_embedding))
    ):
        for i in range(count):
            others = [row[1 - side] for row in queue if row[2] != int(ids.product[i])]
            scores = [scale * float(anchors[i] @ key) for key in [*keys, *others]]
            total += math.log(sum(map(math.exp, scores))) - scores[i]
    return total / (2 * count)


@pytest.mark.parametrize("size", [3, 5, 100])
def test_equals_the_slow_loop_and_drops_the_oldest_first(size):
    """Five steps over products that repeat; the queue holds the last 3, 5 or all earlier pairs."""
    loss, past = make(size=size), []
    for step, rows in enumerate(([0, 1, 2], [3, 4], [0, 3, 5], [6], [1, 6, 2])):
        now, ids = drawn(step, rows)
        assert loss(now, ids).item() == pytest.approx(slow(now, ids, past, size), abs=1e-5)
        past.append((now, ids))


def test_equals_info_nce_until_it_is_active_and_in_evaluation_mode():
    loss = make(start_epoch=2)
    for epoch in (0, 1):
        loss.begin_epoch(epoch)
        now, ids = drawn(epoch, [0, 1, 2])
        assert torch.equal(loss(now, ids), info_nce(now.image_embedding, now.text_embedding, torch.tensor(7.0)))
    loss.begin_epoch(2)
    now, ids = drawn(2, [3, 4])
    plain = info_nce(now.image_embedding, now.text_embedding, torch.tensor(7.0))
    before = {name: value.clone() for name, value in loss.get_extra_state().items()}
    assert torch.equal(loss.eval()(now, ids), plain)
    assert all(torch.equal(value, before[name]) for name, value in loss.get_extra_state().items())
    assert loss.train()(now, ids).item() > plain.item() + 0.1


@pytest.mark.parametrize(("group", "text"), [([0, 1], [5, 6]), ([7, 8], [0, 1])], ids=["of one group", "of one text"])
def test_entries_of_one_group_or_text_are_masked(group, text):
    """Later products of the same groups or texts: the queue adds no negative, unless the mask is off."""
    for mask in (True, False):
        loss = make(mask_false_negatives=mask)
        loss(drawn(0, [0, 1])[0], batch([0, 1], group=[0, 0], text=[0, 0]))
        now = drawn(1, [8, 9])[0]
        ids = batch([8, 9], group=[0, 0] if group[0] == 0 else group, text=[0, 0] if text[0] == 0 else text)
        ignored = torch.ones(2, 2, dtype=torch.bool) if mask else None
        alone = info_nce(now.image_embedding, now.text_embedding, torch.tensor(7.0), ignored)
        assert torch.allclose(loss(now, ids), alone) is mask


def test_a_queued_product_is_no_negative_of_another_text_relevant_to_it():
    """Product 0 is queued with text 0; text 5 is relevant to it too. It must not be a negative of text 5 of product 9.

    In the other direction text 0 is a negative of product 9, to which it is not relevant.
    """
    loss = make()
    before = drawn(0, [0, 1])[0]
    loss(before, replace(batch([0, 1], text=[0, 1]), answers=torch.tensor([[0, 5], [1, -1]])))
    now = drawn(1, [8, 9])[0]
    ids = replace(batch([8, 9], text=[8, 5]), answers=torch.tensor([[8, -1, -1], [5, 6, 7]]))
    anchors, keys, past = now.text_embedding, now.image_embedding, before.image_embedding
    to_image = [[*keys, *past], [*keys, past[1]]]
    to_text = [[*anchors, *before.text_embedding]] * 2
    sides = ((anchors, to_image), (keys, to_text))
    expected = sum(
        -torch.stack([7.0 * anchor @ other for other in others]).log_softmax(0)[place].item() / 4
        for side, against in sides
        for place, (anchor, others) in enumerate(zip(side, against, strict=True))
    )
    assert loss(now, ids).item() == pytest.approx(expected, abs=1e-5)
    assert loss.get_extra_state()["answers"].tolist() == [[0, 5, -1], [1, -1, -1], [8, -1, -1], [5, 6, 7]]


def test_products_without_text_are_not_queued():
    loss = make()
    loss(drawn(0, [0, 1, 2])[0], batch([0, 1, 2], has_text=[True, False, True]))
    assert loss.get_extra_state()["product"].tolist() == [0, 2]
    loss(drawn(1, [3])[0], batch([3], has_text=[False]))
    assert loss.get_extra_state()["product"].tolist() == [0, 2]


def test_the_queue_has_no_graph():
    loss = make()
    now, ids = drawn(0, [0, 1])
    now.image_embedding.requires_grad_()
    loss(now, ids).backward()
    assert not any(value.requires_grad for value in loss.get_extra_state().values())


def test_with_momentum_the_momentum_encoder_gives_the_keys():
    """Positives, batch negatives and queue are the momentum encoder's; only the anchors have a gradient."""
    loss = make(momentum=0.9)
    first, second = drawn(5, [0, 1])[0], drawn(6, [2, 3])[0]

    def with_momentum(own, momentum):
        return outputs(
            own.image_embedding.requires_grad_(), own.text_embedding.requires_grad_(), 7.0,
            momentum_image_embedding=momentum.image_embedding, momentum_text_embedding=momentum.text_embedding,
        )  # fmt: skip

    loss(with_momentum(drawn(0, [0, 1])[0], first), batch([0, 1]))
    now = with_momentum(drawn(1, [2, 3])[0], second)
    expected = 0.0
    for anchors, key in ((now.image_embedding, "text_embedding"), (now.text_embedding, "image_embedding")):
        keys = torch.cat([getattr(second, key), getattr(first, key)])
        expected += functional.cross_entropy(7.0 * anchors.detach() @ keys.T, torch.arange(2)).item() / 2
    assert loss(now, batch([2, 3])).item() == pytest.approx(expected, abs=1e-5)


def test_each_of_two_scales_is_used_in_one_direction():
    loss, other = make(), make()
    for one in (loss, other):
        one(*drawn(0, [0, 1]))
    now, ids = drawn(1, [2, 3])
    pair = outputs(now.image_embedding, now.text_embedding, [7.0, 7.0])
    assert torch.allclose(loss(now, ids), other(pair, ids))
    swapped = outputs(now.text_embedding, now.image_embedding, [3.0, 7.0])
    sides = {"image": "text", "text": "image"}
    first, second = make(), make()
    first(*drawn(0, [0, 1]))
    state = {sides.get(name, name): value for name, value in first.get_extra_state().items()}
    second.set_extra_state(state)
    unequal = outputs(now.image_embedding, now.text_embedding, [7.0, 3.0])
    assert torch.allclose(first(unequal, ids), second(swapped, ids))


def test_a_restored_queue_continues_as_the_uninterrupted_one(tmp_path):
    uninterrupted, first = make(size=4), make(size=4)
    for step in range(3):
        uninterrupted(*drawn(step, [step, step + 1]))
        first(*drawn(step, [step, step + 1]))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(size=4)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(3, 6):
        now, ids = drawn(step, [step, step + 1])
        assert torch.equal(uninterrupted(now, ids), second(now, ids))


def toy_gap(name, seed=0, **changes):
    """Train two small towers on 128 pairs; return the mean cosine of new matched pairs minus that of all new pairs."""
    views = [torch.randn(8, 32, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]

    def sides(count, seed):
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(count, 8, generator=generator)
        return [torch.tanh(hidden @ view) + 0.3 * torch.randn(count, 32, generator=generator) for view in views]

    torch.manual_seed(seed)
    image, text = (nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 16, bias=False)) for _ in range(2))
    scale = nn.Parameter(torch.tensor(2.6593))
    loss = build_losses(loss_params(**{name: {"weight": 1.0, **changes}}), [name])[name]
    named = [*image.named_parameters(), *text.named_parameters("text"), ("scale", scale)]
    optimizer = build_adamw(split_decay(named, 1e-2, 0.05, "toy", {key for key, value in named if value.ndim <= 1}))
    pixels, words = sides(128, 3)
    for epoch in range(20):
        if isinstance(loss, nn.Module):
            loss.begin_epoch(epoch)
        for rows in torch.randperm(128, generator=torch.Generator().manual_seed(epoch)).split(16):
            sides_now = ((image, pixels), (text, words))
            embeddings = [functional.normalize(tower(values[rows]), dim=1) for tower, values in sides_now]
            loss(outputs(*embeddings, scale.clamp(0, 4.6052).exp()), batch(rows.tolist())).backward()
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        pixels, words = sides(200, 4)
        one, other = functional.normalize(image(pixels), dim=1), functional.normalize(text(words), dim=1)
    similarity = one @ other.T
    return float(similarity.diagonal().mean() - similarity.mean())


def test_the_defaults_do_not_collapse_where_a_naive_queue_does():
    """The gap is about .8 with InfoNCE; a queue with the same products as negatives loses most of it."""
    plain, default = toy_gap("info_nce"), toy_gap("memory_queue")
    naive = toy_gap("memory_queue", start_epoch=0, mask_false_negatives=False)
    assert default > 0.7 * plain
    assert naive < 0.45 * plain

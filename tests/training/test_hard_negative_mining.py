import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.loading.dataset import shuffled_batches
from pipeline_lib.training.hard_negative_mining import hardest_negatives, mined_order


def slow(text, image, keys, count):
    found = []
    for i in range(len(text)):
        others = [j for j in range(len(image)) if not any(key[i] == key[j] for key in keys)]
        others.sort(key=lambda j: -float(text[i] @ image[j]))
        found.append((others + [-1] * count)[:count])
    return found


@settings(max_examples=25)
@given(size=st.integers(1, 12), seed=st.integers(0, 99), count=st.integers(1, 5), block=st.integers(1, 13))
def test_strangers_equal_the_slow_loop_in_blocks_of_any_size(size, seed, count, block):
    generator = torch.Generator().manual_seed(seed)
    text, image = torch.randn(size, 4, generator=generator), torch.randn(size, 4, generator=generator)
    keys = [torch.arange(size), torch.randint(0, 4, (size,), generator=generator)]
    found = hardest_negatives(text, image, keys, count, block)
    assert found.tolist() == slow(text, image, [key.tolist() for key in keys], count)


def test_no_product_has_no_stranger():
    assert hardest_negatives(torch.empty(0, 4), torch.empty(0, 4), [torch.empty(0)], 3).shape == (0, 3)


def drawn_strangers(count, kept, seed):
    strangers = np.random.default_rng(seed).integers(-1, count, (count, kept))
    strangers[strangers == np.arange(count)[:, None]] = -1
    return strangers


@settings(max_examples=40)
@given(count=st.integers(1, 40), size=st.integers(1, 12), share=st.floats(0, 0.99), seed=st.integers(0, 20))
def test_each_product_is_dealt_at_most_once_in_as_many_full_batches_as_a_shuffle(count, size, share, seed):
    batches = mined_order(drawn_strangers(count, 3, seed), size, share, seed, 4)
    plain = shuffled_batches(count, size, seed, 4)
    assert [(epoch, len(rows)) for epoch, rows in batches] == [(epoch, len(rows)) for epoch, rows in plain]
    dealt = np.concatenate([rows for _, rows in batches])
    assert len(set(dealt.tolist())) == len(dealt)


def test_without_a_share_or_without_strangers_it_is_the_shuffle():
    plain = shuffled_batches(20, 6, 3, 1)
    nobody = np.full((20, 3), -1)
    for batches in (mined_order(drawn_strangers(20, 3, 0), 6, 0.0, 3, 1), mined_order(nobody, 6, 0.5, 3, 1)):
        assert all(np.array_equal(one[1], other[1]) for one, other in zip(batches, plain, strict=True))


def test_anchors_bring_their_best_first_and_pass_over_who_was_dealt():
    """Batches of 4, half mined. Each anchor's best stranger is its neighbour in a ring, the second the one after."""
    count = 12
    ring = np.stack([(np.arange(count) + 1) % count, (np.arange(count) + 2) % count], axis=1)
    used = set()
    for _, rows in mined_order(ring, 4, 0.5, 5, 0):
        anchors, met = rows[:2].tolist(), rows[2:].tolist()
        used |= set(anchors)
        expected = [(one + step) % count for step in (1, 2) for one in anchors]
        free = [one for number, one in enumerate(expected) if one not in used and one not in expected[:number]][:2]
        assert met[: len(free)] == free
        used |= set(met)


@pytest.mark.parametrize("other", [(8, 1), (7, 2)])
def test_an_order_follows_from_seed_and_epoch(other):
    strangers = drawn_strangers(30, 4, 0)
    one, same = mined_order(strangers, 5, 0.4, 7, 1), mined_order(strangers, 5, 0.4, 7, 1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(one, mined_order(strangers, 5, 0.4, *other), strict=True))

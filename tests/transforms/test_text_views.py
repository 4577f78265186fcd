from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.transforms.text_views import TEXT_VIEWS, random_swap, split_units, word_dropout

TEXTS = st.text(alphabet="ab1 \t红色杯é.", max_size=30)
SEEDS = st.integers(0, 10_000)


def rng(row: int = 0) -> np.random.Generator:
    return np.random.default_rng((7, 0, row, 2))


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("red striped mug", ["red", "striped", "mug"]),
        ("  naïve  café ", ["naïve", "café"]),
        ("红色条纹杯", ["红", "色", "条", "纹", "杯"]),
        ("iPhone13手机壳 3.5mm，黑", ["iPhone13", "手", "机", "壳", "3.5mm，", "黑"]),
        ("蓝色 mug", ["蓝", "色", "mug"]),
        ("", []),
        (" \n", []),
    ],
)
def test_units_of_examples(text, units):
    assert split_units(text)[0] == units


@given(text=TEXTS)
def test_units_and_gaps_are_the_text(text):
    units, gaps = split_units(text)
    assert gaps[0] + "".join(unit + gap for unit, gap in zip(units, gaps[1:], strict=True)) == text
    assert all(not gap.strip() for gap in gaps)


@given(text=TEXTS, seed=SEEDS, rate=st.floats(0, 1))
def test_dropout_keeps_a_non_empty_subsequence(text, seed, rate):
    units = split_units(text)[0]
    rest = split_units(word_dropout(text, np.random.default_rng(seed), rate))[0]
    remaining = iter(units)
    assert all(unit in remaining for unit in rest)  # a subsequence: each unit comes after the previous one
    assert bool(rest) is bool(units)


@given(text=TEXTS, seed=SEEDS, rate=st.floats(0, 1))
def test_a_swap_keeps_every_unit(text, seed, rate):
    swapped = random_swap(text, np.random.default_rng(seed), rate)
    assert Counter(split_units(swapped)[0]) == Counter(split_units(text)[0])


@pytest.mark.parametrize("name", TEXT_VIEWS)
@given(text=TEXTS, seed=SEEDS)
def test_rate_0_changes_nothing(name, text, seed):
    assert TEXT_VIEWS[name](text, np.random.default_rng(seed), 0.0) == text


def test_rate_1_leaves_one_random_unit():
    texts = {word_dropout("red striped mug", rng(row), 1.0) for row in range(60)}
    assert texts == {"red", "striped", "mug"}


def test_dropout_removes_a_share_rate():
    text = " ".join(f"w{number}" for number in range(50))
    lengths = [len(word_dropout(text, rng(row), 0.2).split()) for row in range(200)]
    assert 38.5 < np.mean(lengths) < 41.5
    assert min(lengths) < max(lengths)


def test_few_words_get_one_swap_and_many_words_a_tenth_as_many_swaps():
    for row in range(50):
        few = random_swap("a b c d e", rng(row), 0.1).split()
        assert sum(one != other for one, other in zip(few, "abcde", strict=True)) == 2
    many = [f"w{number}" for number in range(100)]
    moved = [
        sum(a != b for a, b in zip(random_swap(" ".join(many), rng(row), 0.1).split(), many, strict=True))
        for row in range(50)
    ]
    assert max(moved) <= 20 and np.mean(moved) > 16


def test_words_that_become_neighbours_in_han_text_get_a_space():
    """Without the character between them, iPhone and 13 must not become iPhone13."""
    views = {word_dropout("iPhone黑13", rng(row), 0.5) for row in range(100)}
    assert "iPhone 13" in views and "iPhone13" not in views
    assert {"iPhone黑", "黑13", "黑"} <= views
    swapped = {random_swap("iPhone黑13", rng(row), 0.1) for row in range(100)}
    assert swapped == {"黑iPhone 13", "iPhone 13黑", "13黑iPhone"}


def test_a_space_between_removed_units_stays():
    views = {word_dropout("红 蓝 杯", rng(row), 0.5) for row in range(100)}
    assert "红 杯" in views and "红杯" not in views


def test_a_single_unit_and_an_empty_text_do_not_change():
    for view in TEXT_VIEWS.values():
        assert [view(text, rng(), 1.0) for text in ("", "mug", "杯")] == ["", "mug", "杯"]

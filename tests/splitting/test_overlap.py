"""What training has nearly seen of test: a hand-worked table, and near-equal texts as a slow loop finds them."""

from collections import Counter

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.splitting import overlap as module
from pipeline_lib.splitting.overlap import MIN_WORDS, near_equal, overlap

LONG = "one two three four five six seven eight nine ten"
SCHEMA = {"product_id": pl.String, "other_product_id": pl.String}


def test_hand_worked_shares():
    products = pl.DataFrame(
        {
            "product_id": list("abcdefg"),
            "text": ["red mug", "Mug, red", LONG, f"{LONG} eleven", "blue mug", "green mug", ""],
        }
    )
    places = [("train", 0), ("test", None), ("train", 1), ("test", None), ("test", None), ("test", None), ("train", 1)]
    folds = products.select("product_id").with_columns(
        split=pl.Series([split for split, _ in places]), fold=pl.Series([fold for _, fold in places], dtype=pl.Int64)
    )
    pairs = pl.DataFrame([("a", "b"), ("g", "e"), ("e", "f")], schema=SCHEMA, orient="row")
    # Near-equal texts: b (other order), d (one word more). Photos: b and e; f is like a test product only.
    assert overlap(products, folds, pairs) == {
        "text_across_bins": 0,
        "test_near_text": 0.5,
        "test_near_photo": 0.5,
        "test_near_either": 0.75,
    }
    equal = products.with_columns(text=pl.Series(["x", "X!", "x", "y", "y", "", ""]))
    assert overlap(equal, folds, pairs.clear())["text_across_bins"] == 3
    trained = folds.with_columns(split=pl.lit("train"), fold=pl.lit(0, pl.Int64))
    assert overlap(products, trained, pairs) == {"text_across_bins": 0}


def slow(text, other):
    one, two = Counter(text.split()), Counter(other.split())
    if not one or not two:
        return False
    longest = max(one.total(), two.total())
    more, less = one - two, two - one
    if not more and not less:
        return True
    enough = all(words.total() >= MIN_WORDS for words, rest in ((one, more), (two, less)) if rest)
    return longest >= MIN_WORDS and more.total() <= 1 and less.total() <= 1 and enough


WORDS = st.lists(st.sampled_from("abc"), max_size=3)


@settings(max_examples=60)
@given(st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=6))
def test_near_equal_texts_equal_a_slow_loop(drawn):
    texts = [" ".join([*words, *(["w"] * 9 if long else [])]) for words, long in drawn]
    for text in texts:
        found = near_equal(pl.Series([text]), pl.Series(texts[::-1]))
        assert found.tolist() == [any(slow(text, other) for other in texts)]


def test_chunks_change_nothing_and_han_characters_are_words(monkeypatch):
    own, others = pl.Series(["红色马克杯陶瓷三百毫升", "蓝"]), pl.Series(["x", "蓝色马克杯陶瓷三百毫升", "", "蓝 "])
    assert near_equal(own, others).tolist() == [True, True]
    monkeypatch.setattr(module, "CHUNK", 1)
    assert near_equal(own, others).tolist() == [True, True]
    assert near_equal(own, pl.Series([""])).tolist() == [False, False]

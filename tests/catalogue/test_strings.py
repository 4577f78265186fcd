"""The cleaning of strings: what looks equal becomes equal, and nothing else changes."""

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.catalogue.strings import (
    clean,
    clean_name,
    clean_string,
    clean_strings,
    clean_text,
    drop_half_characters,
    strip_tags,
)


def column(values, function):
    return pl.DataFrame({"a": values}, schema={"a": pl.String}).select(function(pl.col("a")))["a"].to_list()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Mug\u200b", "Mug"),
        ("\ufeffMug", "Mug"),
        ("Home\u00a0 & \u3000Garden\r\n", "Home & Garden"),
        ("soft\u00adware", "software"),
        ("\u200eMug\u200f", "Mug"),
        ("Mu\u0308sli", "M\u00fcsli"),
        ("Mug\u200d", "Mug"),
        ("\u200cMug", "Mug"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiner is part of the spelling
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("ＡＢＣ", "ＡＢＣ"),
        ("NA", "NA"),
        ("\u200b \u00a0", ""),
        ("", ""),
    ],
)
def test_hand_worked_strings(text, cleaned):
    assert clean_string(text) == cleaned
    assert column([text], clean_text) == [cleaned]
    assert column([text], clean) == [cleaned or None]


characters = st.one_of(
    st.characters(exclude_categories=["Cs"]), st.sampled_from("a \u200b\u200c\u200d\u0301\ufeff\u00a0\n\u0085e\u2028")
)


@given(st.text(characters, max_size=12))
def test_a_column_a_string_and_a_slow_definition_agree(text):
    cleaned = clean_string(text)
    assert column([text], clean_text) == [cleaned] == clean_strings([text])
    assert column([cleaned], clean_text) == [unicodedata.normalize("NFC", cleaned)]  # cleaning again changes nothing
    assert "  " not in cleaned and cleaned == cleaned.strip(" ")
    assert unicodedata.is_normalized("NFC", cleaned) or "\u200b" in text or "\ufeff" in text


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["0.0", "1.0", None], ["0", "1", None]),
        (["1", "2.00", "-3.0"], ["1", "2", "-3"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["USB 1.0", "2.0"], ["USB 1.0", "2.0"]),
        (["007", "008.0"], ["007", "008"]),
        ([None, ""], [None, None]),
    ],
)
def test_whole_numbers_lose_their_fraction_only_if_all_are_whole(values, names):
    assert column(values, clean_name) == names


def test_half_characters_are_dropped_and_tags_become_spaces():
    assert drop_half_characters("mug \ud83d, \U0001f600") == "mug , \U0001f600"
    html = r"<p>Red&nbsp;mug<br/>5 &lt; 6 &amp; a<b</p>\nnew"
    assert column([html, None], lambda one: clean_text(strip_tags(one))) == ["Red mug 5 < 6 & a new", ""]

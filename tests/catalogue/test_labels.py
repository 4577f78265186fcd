"""Notes about labels that may be one class, or none."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.catalogue.labels import misspelt_names, name_notes, similar_names


def notes(labels, groups=()):
    return name_notes(pl.Series("label", labels, dtype=pl.String), pl.Series("group", groups, dtype=pl.String))


def test_placeholders_are_classes_and_noted():
    assert notes(["Mug", "NA", "NA", None], ["g1", "nan"]) == [
        "label 'NA' is a class of 2 products; if it means that there is none, leave the cell empty",
        "group 'nan' is one group of 1 products; if it means that there is none, leave the cell empty",
    ]
    assert notes(["Mug", "Cup", None]) == []


def test_nearly_equal_labels_are_noted_with_their_numbers():
    labels = ["T-Shirts"] * 3 + ["t shirts"] + ["Kitchen lamps"] * 30 + ["Kitchen lmaps"] + ["Bags"] * 9 + ["Bugs"] * 8
    assert notes(labels) == [
        "labels that differ only in case, width, spaces or punctuation: 'T-Shirts' (3) and 't shirts' (1)",
        "labels that differ in one letter: 'Kitchen lamps' (30) and 'Kitchen lmaps' (1)",
    ]


def test_long_lists_are_shortened():
    labels = [name for number in range(7) for name in (f"Class {number}", f"class {number}")]
    assert notes(labels)[0].endswith(" and 2 more pairs")


def distance(one, other):
    """Return the edit distance, a swap of neighbours counted as one edit, by its definition."""
    if not one or not other:
        return len(one) + len(other)
    edits = [
        distance(one[1:], other[1:]) + (one[0] != other[0]),
        distance(one[1:], other) + 1,
        distance(one, other[1:]) + 1,
    ]
    if len(one) > 1 and len(other) > 1 and one[:2] == other[1::-1]:
        edits.append(distance(one[2:], other[2:]) + 1)
    return min(edits)


@given(st.lists(st.text("abc", min_size=4, max_size=5), min_size=2, max_size=5, unique=True))
def test_every_pair_one_letter_apart_is_found(names):
    counts = {name: 100 if place == 0 else 1 for place, name in enumerate(names)}
    found = {frozenset(pair) for pair in misspelt_names(counts)}
    near = {frozenset((names[0], other)) for other in names[1:] if distance(names[0], other) == 1}
    assert near <= found


def test_equal_names_are_not_similar_to_themselves():
    assert similar_names(["Mugs", "Mugs", "---", "***"]) == []


def test_vowel_signs_tell_names_apart():
    # Garlands, fairs, shops and the wind in Hindi and Thai: signs on the same consonants.
    assert similar_names(["माला", "मेला", "ร้าน", "ริน", "कुर्ता", "कुर्ती"]) == []
    assert similar_names(["लाल साड़ी", "लाल-साड़ी", "☕️ Mugs!", "MUGS", "Café", "Cafe\u0301 "]) == [
        ("लाल साड़ी", "लाल-साड़ी"),
        ("☕️ Mugs!", "MUGS"),
        ("Café", "Cafe\u0301 "),
    ]

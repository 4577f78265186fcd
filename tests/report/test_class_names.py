"""Short names of class paths, the whole path on hover, and names that only look like paths."""

import pytest

from pipeline_lib.report.class_names import ClassNames


def shorts(*labels):
    names = ClassNames(labels)
    return [names.short(label) for label in labels]


def test_a_path_has_its_leaf():
    assert shorts("Home > Kitchen > Mugs", "Home > Bath > Towels") == ["Mugs", "Towels"]
    assert shorts("a/b/c", "a/d") == ["c", "d"]
    assert shorts("Home|Mugs", "Home|Lamps", "Other") == ["Mugs", "Lamps", "Other"]


def test_equal_leaves_have_as_many_parents_as_tell_them_from_each_other():
    labels = ("Women > Shoes > Boots", "Men > Shoes > Boots", "Men > Shoes > Sandals", "Boots")
    assert shorts(*labels) == ["Women > Shoes > Boots", "Men > Shoes > Boots", "Sandals", "Boots"]
    assert len(set(shorts(*labels))) == len(labels)


@pytest.mark.parametrize(
    "labels", [("T-shirt/top", "Bag", "Coat"), ("mug", "plate"), ("50/50 wool",), ("> 5 kg", "< 5 kg"), ()]
)
def test_names_that_are_no_paths_stay(labels):
    assert shorts(*labels) == list(labels) and not ClassNames(labels).are_paths


def test_the_page_has_the_whole_path_on_hover_and_markup_stays_text():
    names = ClassNames(['Home > "<b>"', "Home > Mugs"])
    assert names.html("Home > Mugs") == '<bdi class="leaf" title="Home &gt; Mugs">Mugs</bdi>'
    assert "<b>" not in names.html('Home > "<b>"') and names.html('Home > "<b>"').count('"') == 4
    assert names.html("unknown & new") == "<bdi>unknown &amp; new</bdi>" and names.html(None) == "<bdi></bdi>"

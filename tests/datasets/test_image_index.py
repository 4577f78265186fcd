"""Photos of products by file name."""

import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.datasets.image_index import assign_images, list_images


def slow_assign(names, ids):
    found = {}
    for name in names:
        stem = name.rpartition(".")[0]
        owners = [each for each in ids if re.fullmatch(re.escape(each) + "(_.*)?", stem, re.DOTALL)]
        if owners:
            found.setdefault(max(owners, key=len), []).append(name)
    return found


@given(
    st.lists(st.text("ab_1", min_size=1, max_size=6).map(lambda stem: stem + ".jpg"), unique=True, max_size=12),
    st.sets(st.text("ab_1", min_size=1, max_size=4), max_size=6),
)
def test_images_equal_a_pattern_search_for_each_product(names, ids):
    assert assign_images(names, ids) == slow_assign(names, ids)


def test_an_image_belongs_to_the_longest_matching_id():
    names = ["a.jpg", "a_1.jpg", "a_1_2.jpg", "a_2.jpg", "ab.jpg", "b_1.jpg"]
    assert assign_images(names, ["a", "a_1"]) == {"a": ["a.jpg", "a_2.jpg"], "a_1": ["a_1.jpg", "a_1_2.jpg"]}


def test_images_of_a_folder_are_listed_in_natural_order(tmp_path):
    for name in ("b_10.jpg", "b_9.PNG", "b.webp", "note.txt", ".jpg", "a.jpeg"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["a.jpeg", "b.webp", "b_9.PNG", "b_10.jpg"]
    assert list_images(tmp_path / "absent") == []

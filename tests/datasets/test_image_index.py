"""Photos of products by file name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline_lib.datasets.image_index import assign_images, list_images, near_names, same_names
from pipeline_lib.transforms.formats import photo_extensions


def slow_assign(names, ids):
    found = {}
    for name in names:
        folder, slash, file = name.rpartition("/")
        stem = file.rpartition(".")[0]
        for candidate in (folder + slash + stem, stem):
            owners = [each for each in ids if re.fullmatch(re.escape(each) + "(_[^/]*)?", candidate, re.DOTALL)]
            if owners:
                found.setdefault(max(owners, key=len), []).append(name)
                break
    return found


STEMS = st.text("ab_1", min_size=1, max_size=6)


@given(
    st.lists(st.tuples(st.sampled_from(["", "a/", "b/", "a_1/b/"]), STEMS).map("".join), unique=True, max_size=12),
    st.sets(st.text("ab_1/", min_size=1, max_size=4).filter(lambda text: text.strip("/") == text), max_size=6),
)
def test_images_equal_a_pattern_search_for_each_product(stems, ids):
    names = [stem + ".jpg" for stem in stems]
    assert assign_images(names, ids) == slow_assign(names, ids)


def test_an_image_belongs_to_the_longest_matching_id():
    names = ["a.jpg", "a_1.jpg", "a_1_2.jpg", "a_2.jpg", "ab.jpg", "b_1.jpg"]
    assert assign_images(names, ["a", "a_1"]) == {"a": ["a.jpg", "a_2.jpg"], "a_1": ["a_1.jpg", "a_1_2.jpg"]}


def test_an_id_with_a_folder_goes_before_the_bare_name():
    names = ["1.jpg", "bags/1.jpg", "bags/2.jpg", "my_shoes/1_b.jpg"]
    assert assign_images(names, ["1", "2", "my", "bags/1"]) == {
        "1": ["1.jpg", "my_shoes/1_b.jpg"],
        "bags/1": ["bags/1.jpg"],
        "2": ["bags/2.jpg"],
    }


def test_images_of_a_folder_are_listed_in_natural_order(tmp_path):
    for name in ("b_10.jpg", "b_9.PNG", "b.webp", "note.txt", ".jpg", "a.jpeg", "plain"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["a.jpeg", "b.webp", "b_9.PNG", "b_10.jpg", "plain"]
    assert list_images(tmp_path / "absent") == []


def test_sub_folders_are_searched_and_hidden_ones_left_out(tmp_path):
    for name in ("10/b.jpg", "9/x/c.TIF", "9/a_10.gif", "9/a_2.jfif", "z.bmp", ".cache/d.jpg", "9/._a_2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["z.bmp", "9/a_2.jfif", "9/a_10.gif", "9/x/c.TIF", "10/b.jpg"]


def test_a_linked_folder_is_listed_once_and_a_loop_ends(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "images/a/1.jpg").touch()
    (tmp_path / "images/again").symlink_to("a")
    (tmp_path / "images/a/up").symlink_to("..")
    assert list_images(tmp_path / "images") == ["a/1.jpg"]


def test_of_a_link_that_leaves_the_project_only_the_first_level_is_listed(tmp_path):
    (tmp_path / "other/deep").mkdir(parents=True)
    (tmp_path / "other/1.jpg").touch()
    (tmp_path / "other/deep/2.jpg").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images/linked").symlink_to(tmp_path / "other")
    # The check of photos refuses this file by name, so it has to be listed.
    assert list_images(tmp_path / "images") == ["linked/1.jpg"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "TGA", "PPM"])
def test_the_endings_of_every_decoded_format_are_looked_for(kind):
    Image.init()
    endings = {ending for ending, name in Image.registered_extensions().items() if name == kind}
    assert endings and endings <= photo_extensions()


def test_files_that_are_no_photos_are_not_looked_for():
    assert not photo_extensions() & {".eps", ".wmf", ".pdf", ".txt", ".csv", ".json", ".mpg", ".mp4", ".html", ""}


def test_equal_names_in_several_folders_are_found():
    images = {"1": ["front/1.jpg", "back/1.png"], "2": ["front/2.jpg", "back/2_b.jpg"], "3": ["3.jpg", "3.png"]}
    assert same_names(images) == {"1": ["front/1.jpg", "back/1.png"]}


def test_a_bare_name_or_an_ending_in_another_case_names_a_file_if_it_is_unique():
    near = near_names(["a/1.jpg", "b/1.jpg", "b/2.JPG", "3.jpg", "3.JPG"])
    assert near == {"a/1.jpg": "a/1.jpg", "b/1.jpg": "b/1.jpg", "b/2.jpg": "b/2.JPG", "2.jpg": "b/2.JPG"}

"""Groups on two levels: what joins products, what does not, and the ids of groups."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import numpy as np
import polars as pl
import pytest
from drawn_goods import cropped, encoded, scene, shirt, with_margin
from drawn_records import REPO, data_params
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageDraw

from pipeline_lib.catalogue import duplicates
from pipeline_lib.catalogue.comparison import SAME, PhotoPairs
from pipeline_lib.catalogue.duplicates import Photos, group_products
from pipeline_lib.catalogue.thumbnails import BYTES, thumbnail
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section

SETTINGS = parse_section(DataParams, load_params(REPO / "params.yaml"))


@pytest.fixture
def grouped(data_params):
    """Group products that are given as lists of pictures; equal picture objects are equal files."""

    def run(products, groups=None, **changes):
        photos = [(row, image) for row, images in enumerate(products) for image in images]
        rows = np.stack([thumbnail(image) for _, image in photos])
        own = Photos(rows, np.array([row for row, _ in photos]), [str(id(image)) for _, image in photos])
        names = [f"p{row:03}" for row in range(len(products))]
        return group_products(names, groups or [None] * len(products), own, data_params(**changes))

    return run


def detail(image, color=(250, 240, 60)):
    """Return the picture with another small print."""
    other = image.copy()
    ImageDraw.Draw(other).rectangle((105, 190, 122, 200), fill=color)
    return other


def parts(ids):
    places = {}
    for row, name in enumerate(ids):
        places.setdefault(name, []).append(row)
    return sorted(rows for rows in places.values() if len(rows) > 1)


def test_the_two_levels(grouped):
    goods = [shirt(seed) for seed in range(5)]
    found = grouped(
        [[goods[0]], [encoded(goods[0])], [detail(goods[0])], [goods[1], goods[2]], [goods[3], goods[2]], [goods[4]]]
    )
    # 0 and 1 show one picture; 2 differs in a print; 3 and 4 share only their second photo.
    assert parts(found.group_ids) == [[0, 1]]
    assert parts(found.fold_group_ids) == [[0, 1, 2], [3, 4]]
    assert found.group_ids[:2] == ["p000", "p000"]
    links = {(first, second): difference <= SAME for first, second, difference in found.links.rows()}
    assert links == {(0, 1): True, (0, 2): False, (1, 2): False, (3, 4): False}
    assert found.notes == [] and found.placeholders == []


def test_a_first_photo_that_is_anothers_second_is_perhaps_the_same(grouped):
    found = grouped([[shirt(0), shirt(1)], [encoded(shirt(1))], [shirt(2)]])
    assert parts(found.group_ids) == []
    assert parts(found.fold_group_ids) == [[0, 1]]


@pytest.mark.parametrize("copies", [False, True])
def test_a_photo_of_many_products_is_a_placeholder_and_joins_nobody(grouped, copies):
    chart = scene(99)
    charts = [encoded(chart, 60 + number) if copies else chart for number in range(6)]
    products = [[shirt(number), charts[number]] for number in range(6)]
    found = grouped(products, placeholder_products=5)
    assert parts(found.fold_group_ids) == []
    assert sum(found.placeholders) == (36 if copies else 6)
    assert len(found.placeholders) == (6 if copies else 1)
    assert "placeholders (a logo, a size chart)" in found.notes[0]
    assert parts(grouped(products[:5], placeholder_products=5).fold_group_ids) == [[0, 1, 2, 3, 4]]


def test_products_of_one_table_group_count_once_for_a_placeholder(grouped):
    chart = scene(99)
    products = [[chart] for _ in range(6)] + [[shirt(1)]]
    found = grouped(products, ["sizes"] * 6 + [None], placeholder_products=5)
    assert found.placeholders == []
    assert parts(found.group_ids) == [[0, 1, 2, 3, 4, 5]]


def test_no_chain_from_crop_to_crop(grouped):
    picture = scene(5, 400)
    crops = [cropped(picture, left=0.055 * number, right=0.22 - 0.055 * number) for number in range(5)]
    found = grouped([[crop] for crop in crops])
    same = {tuple(link[:2]) for link in found.links.rows() if link[2] <= SAME}
    assert (0, 1) in same and (0, 4) not in same
    for rows in parts(found.group_ids):
        assert {(a, b) for a in rows for b in rows if a < b} <= same


def test_a_margin_a_crop_and_a_mirror_are_one_thing(grouped):
    picture = scene(3)
    copies = [
        with_margin(picture, 0.03),
        cropped(picture, 0.06, 0.06, 0.06, 0.06),
        encoded(picture),
        picture.transpose(0),
    ]
    found = grouped([[picture], *([encoded(copy)] for copy in copies[:3])])
    assert parts(found.group_ids) == [[0, 1, 2, 3]]
    assert parts(grouped([[picture], [copies[3]]]).group_ids) == [[0, 1]]


def test_off_and_no_photos_group_nothing(grouped, data_params):
    assert parts(grouped([[shirt(0)], [shirt(0)]], duplicate_bits=-1).fold_group_ids) == []
    empty = Photos(np.zeros((0, BYTES), np.uint8), np.zeros(0, np.int64), [])
    found = group_products(["a", "b"], [None, None], empty, data_params())
    assert found.group_ids == found.fold_group_ids == ["a", "b"]


def with_pairs(monkeypatch, pairs):
    """Let the photos of products 0, 1, ... look alike as listed: (first, second, difference)."""
    columns = [np.array([pair[place] for pair in pairs]) for place in range(3)]
    found = PhotoPairs(columns[0].astype(int), columns[1].astype(int), columns[2].astype(np.float32))
    monkeypatch.setattr(duplicates, "look_alikes", lambda rows, max_bits: iter([found]))


def numbered(count):
    return Photos(np.zeros((count, BYTES), np.uint8), np.arange(count), [str(number) for number in range(count)])


def test_a_cluster_over_one_percent_is_cut_at_its_weakest_links_and_noted(monkeypatch, data_params):
    monkeypatch.setattr(duplicates, "HANDFUL", 4)
    pairs = [(a, b, 2.01 if (a < 3) == (b < 3) else 2.04) for a in range(6) for b in range(a + 1, 6)]
    with_pairs(monkeypatch, pairs)
    names = [f"p{row}" for row in range(8)]
    found = group_products(names, [None] * 8, numbered(8), data_params())
    assert parts(found.fold_group_ids) == [[0, 1, 2], [3, 4, 5]]
    assert "cut at their weakest links, so that none has more than 4 products: 1 merges were refused" in found.notes[0]


def test_only_the_strongest_links_of_a_photo_stay(monkeypatch, data_params):
    monkeypatch.setattr(duplicates, "LINKS_PER_PHOTO", 2)
    monkeypatch.setattr(duplicates, "LINKS_AT_ONCE", 1)
    with_pairs(monkeypatch, [(0, other, 2 + other / 100) for other in range(1, 6)] + [(1, 2, 2.0), (3, 4, 2.0)])
    found = group_products([f"p{row}" for row in range(6)], [None] * 6, numbered(6), data_params())
    # Each link is among the two strongest of 1, 2, 3, 4 or 5.
    assert len(found.links) == 7
    pairs = [(a, b, 2.0 + (a + b) / 100) for a in range(6) for b in range(a + 1, 6)]
    with_pairs(monkeypatch, pairs)
    found = group_products([f"p{row}" for row in range(6)], [None] * 6, numbered(6), data_params())
    assert found.links.select("first", "second").rows() == [(0, other) for other in range(1, 6)] + [
        (1, other) for other in range(2, 6)
    ]
    assert found.notes[0].startswith("6 pairs of photos that look alike are left out")


@pytest.mark.parametrize(("level", "same"), [("same", [[0, 1, 2]]), ("fold", [[0, 1]])])
def test_a_table_group_is_of_the_level_that_params_name(monkeypatch, data_params, level, same):
    with_pairs(monkeypatch, [(0, 1, 0.5)])
    names = ["p6", "p5", "p4", "p3"]
    found = group_products(names, [None, "blue", "blue", "red"], numbered(4), data_params(group_level=level))
    assert parts(found.group_ids) == same
    assert parts(found.fold_group_ids) == [[0, 1, 2]]
    assert found.fold_group_ids == ["blue", "blue", "blue", "red"]
    assert found.group_ids == (["blue", "blue", "blue", "red"] if level == "same" else ["p5", "p5", "p4", "p3"])


def test_a_given_name_that_is_a_product_id_of_another_group_is_skipped(data_params):
    data = data_params(duplicate_bits=-1)
    assert group_products(["a", "b", "c"], [None, "a", "a"], numbered(3), data).group_ids == ["a", "b", "b"]
    assert group_products(["a", "b"], ["a", "a"], numbered(2), data).group_ids == ["a", "a"]


@settings(max_examples=40)
@given(data=st.data())
def test_every_group_of_one_thing_is_linked_throughout_and_within_a_fold_group(data):
    count = 7
    every = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    pairs = [(a, b, data.draw(st.sampled_from([0.0, 0.5, 2.0, 2.03]))) for a, b in chosen]
    with pytest.MonkeyPatch.context() as patch:
        with_pairs(patch, pairs)
        found = group_products([f"p{row}" for row in range(count)], [None] * count, numbered(count), SETTINGS)
    same = {(a, b) for a, b, difference in pairs if difference <= SAME}
    for rows in parts(found.group_ids):
        assert {(a, b) for a in rows for b in rows if a < b} <= same
    frame = pl.DataFrame({"same": found.group_ids, "fold": found.fold_group_ids})
    assert frame.group_by("same").agg(pl.col("fold").n_unique())["fold"].to_list() == [1] * frame["same"].n_unique()

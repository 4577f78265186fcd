"""Near-duplicates: banding finds the pairs of a slow loop; groups get unique ids."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import io
from itertools import combinations

import numpy as np
import pytest
from drawn_records import photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline_lib.catalogue.duplicates import (
    CELL_COLOUR,
    LUMA,
    MEAN_COLOUR,
    MIN_GRADIENTS,
    NOISE_LEVEL,
    group_products,
    near_pairs,
)
from pipeline_lib.catalogue.photos import check_photos


def slow_gradients(grid):
    gray = grid.astype(np.float32) @ LUMA
    across = [
        (gray[y, x + 1] - gray[y, x] + gray[y + 1, x + 1] - gray[y + 1, x]) / 2 for y in range(8) for x in range(8)
    ]
    down = [(gray[y + 1, x] - gray[y, x] + gray[y + 1, x + 1] - gray[y, x + 1]) / 2 for y in range(8) for x in range(8)]
    return np.array(across + down)


def slow_pairs(grids, max_bits):
    found, gradients = set(), [slow_gradients(grid) for grid in grids]
    for one, other in combinations(range(len(grids)), 2):
        first, second = gradients[one], gradients[other]
        if min((abs(first) > NOISE_LEVEL).sum(), (abs(second) > NOISE_LEVEL).sum()) < MIN_GRADIENTS:
            continue
        differ = np.abs(grids[one].astype(int) - grids[other])
        close = differ.mean() <= MEAN_COLOUR and differ.mean(axis=2).max() <= CELL_COLOUR
        if close and ((first > NOISE_LEVEL) != (second > NOISE_LEVEL)).sum() <= max_bits:
            found.add((one, other))
    return found


def groups_of(pairs, count):
    names = [str(number) for number in range(count)]
    return group_products(
        names, [None] * count, np.arange(count), np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    )


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), max_bits=st.integers(0, 7), noise=st.integers(0, 12))
def test_groups_equal_a_slow_comparison_of_all_pairs(seed, max_bits, noise):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (4, 9, 9, 3))
    base[0] = 200
    picked = base[rng.integers(0, 4, 24)] + rng.integers(-noise, noise + 1, (24, 9, 9, 3))
    grids = np.clip(picked, 0, 255).astype(np.uint8)
    pairs = near_pairs(grids, max_bits)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} <= slow_pairs(grids, max_bits)
    assert groups_of(pairs.tolist(), 24) == groups_of(slow_pairs(grids, max_bits), 24)


def test_off_and_no_photos_give_no_pairs():
    grids = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    assert near_pairs(np.concatenate([grids, grids]), -1).shape == (0, 2)
    assert near_pairs(grids[:0], 3).shape == (0, 2)


def test_blank_photos_match_no_other():
    blank = np.full((5_000, 9, 9, 3), 255, dtype=np.uint8)
    blank[:, 4, 4] = 250 + np.arange(5_000)[:, None] % 6
    assert len(near_pairs(blank, 7)) == 0


def test_many_equal_photos_give_one_pair_each_and_not_all_pairs():
    grid = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3), dtype=np.uint8)
    pairs = near_pairs(np.repeat(grid, 2_000, axis=0), 3)
    assert len(pairs) == 1_999
    assert len(set(groups_of(pairs.tolist(), 2_000))) == 1


def test_a_pair_is_found_across_the_chunks_of_a_crowded_key(monkeypatch):
    monkeypatch.setattr("pipeline_lib.catalogue.duplicates.CHUNK", 7)
    base = np.random.default_rng(1).integers(20, 200, (1, 9, 9, 3))
    grids = (base + np.arange(40)[:, None, None, None]).astype(np.uint8)
    assert {tuple(sorted(pair)) for pair in near_pairs(grids, 3).tolist()} == slow_pairs(grids, 3)


@pytest.mark.parametrize("seed", range(5))
def test_a_re_encoded_smaller_copy_is_found_and_a_recoloured_one_is_not(tmp_path, photo, seed):
    path = photo("a.png", seed=seed, size=(300, 240))
    with Image.open(path) as image:
        image.save(tmp_path / "b.jpg", quality=60)
        image.resize((150, 120)).save(tmp_path / "c.webp", quality=80)
        red, green, blue = image.split()
        Image.merge("RGB", (blue, green, red)).save(tmp_path / "other.png")
    names = ["a.png", "b.jpg", "c.webp", "other.png"]
    pairs = near_pairs(check_photos(tmp_path.resolve(), 10**6, names).grids, 5)
    assert groups_of(pairs.tolist(), 4) == ["0", "0", "0", "3"]


def test_a_groups_id_is_the_given_name_or_the_smallest_product_id():
    pairs = np.array([[0, 1], [3, 4]])
    photo_product = np.array([2, 1, 0, 3, 4])
    groups = [None, None, None, "blue", None, "blue", "red"]
    names = ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]
    assert group_products(names, groups, photo_product, pairs) == ["p6", "p4", "p4", "blue", "blue", "blue", "red"]


def test_a_given_name_that_is_a_product_id_of_another_group_is_skipped():
    none = np.zeros((0, 2), dtype=np.int64)
    assert group_products(["a", "b", "c"], [None, "a", "a"], np.arange(0), none) == ["a", "b", "b"]
    assert group_products(["a", "b"], ["a", "a"], np.arange(0), none) == ["a", "a"]


def test_two_given_groups_joined_by_a_photo_are_one():
    assert group_products(["a", "b", "c"], ["y", "x", "y"], np.arange(3), np.array([[0, 1]])) == ["x", "x", "x"]


def test_the_grid_of_a_jpeg_is_close_to_that_of_the_original(tmp_path, photo):
    path = photo("a.png")
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, "JPEG", quality=90)
    (tmp_path / "b.jpg").write_bytes(buffer.getvalue())
    grids = check_photos(tmp_path.resolve(), 10**6, ["a.png", "b.jpg"]).grids.astype(int)
    assert np.abs(grids[0] - grids[1]).mean() < 2

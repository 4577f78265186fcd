"""Near-duplicate photos: the search finds what all pairs give, copies are the same picture, other goods are not."""

# ruff: noqa: F401
from itertools import combinations

import numpy as np
import pytest
from drawn_goods import COPIES, encoded, scene, shirt
from PIL import Image, ImageDraw

from pipeline_lib.catalogue import hashing
from pipeline_lib.catalogue.alignment import align, neighbour_levels, resample
from pipeline_lib.catalogue.comparison import PERHAPS, SAME, look_alikes
from pipeline_lib.catalogue.hashing import ANCHORED_BITS, BRIGHTNESS, NUM_VIEWS, WHOLE, Views, close_pairs, hash_views
from pipeline_lib.catalogue.thumbnails import BYTES, SIDE, content_box, luma, thumbnail

NUM_SCENES = 12


def found(images):
    rows = np.stack([thumbnail(image) for image in images])
    pairs = {}
    for part in look_alikes(rows, 23):
        for first, second, difference in zip(part.first, part.second, part.difference, strict=True):
            key = (int(min(first, second)), int(max(first, second)))
            assert key not in pairs
            pairs[key] = float(difference)
    return pairs


def random_views(seed, count, spread):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, (4, 1, 128))
    flips = rng.random((count, NUM_VIEWS, 128)) < spread
    bits = base[rng.integers(0, 4, count)] ^ flips
    hashes = np.packbits(bits.astype(np.uint8), axis=2).view(np.uint64)
    brightness = (rng.normal(120, 4, (count, 1)) + rng.normal(0, 2, (count, NUM_VIEWS))).astype(np.float32)
    return Views(hashes, brightness, rng.random(count) < 0.9)


@pytest.mark.parametrize(("seed", "spread", "block"), [(0, 0.05, 64), (1, 0.08, 7), (2, 0.06, 1)])
def test_the_search_equals_all_pairs_and_finds_each_once(monkeypatch, seed, spread, block):
    monkeypatch.setattr(hashing, "BLOCK", block)
    views, anchored = random_views(seed, 60, spread), np.random.default_rng(seed).random(60) < 0.5
    pairs = [
        (viewed, plain, view, bits)
        for part in close_pairs(views, anchored, 16)
        for viewed, plain, view, bits in zip(part.viewed, part.plain, part.view, part.bits, strict=True)
    ]
    expected = {}
    for one, other in combinations(np.flatnonzero(views.informative).tolist(), 2):
        for viewed, plain in ((one, other), (other, one)):
            both = anchored[one] and anchored[other]
            for view in WHOLE.tolist() if both else range(NUM_VIEWS):
                differ = int(np.bitwise_count(views.hashes[viewed, view] ^ views.hashes[plain, 0]).sum())
                near = abs(views.brightness[viewed, view] - views.brightness[plain, 0]) <= BRIGHTNESS
                if near and differ <= (ANCHORED_BITS if both else 16):
                    expected[one, other] = min(differ, expected.get((one, other), 999))
    assert 20 < len(expected) < 1_000
    assert {(min(a, b), max(a, b)): bits for a, b, _, bits in pairs} == expected
    assert len(pairs) == len(expected)
    for viewed, plain, view, bits in pairs:
        assert np.bitwise_count(views.hashes[viewed, view] ^ views.hashes[plain, 0]).sum() == bits


@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_a_scene_are_the_same_picture(copy):
    scenes = [scene(seed) for seed in range(NUM_SCENES)]
    pairs = found(scenes + [COPIES[copy](image) for image in scenes])
    same = {pair for pair, difference in pairs.items() if difference <= SAME}
    assert same == {(place, place + NUM_SCENES) for place in range(NUM_SCENES)}


@pytest.mark.parametrize("copy", [name for name in COPIES if "cropped on" not in name])
def test_copies_of_goods_on_white_are_the_same_picture(copy):
    goods = [shirt(seed) for seed in range(NUM_SCENES)]
    pairs = found(goods + [COPIES[copy](image) for image in goods])
    same = {pair for pair, difference in pairs.items() if difference <= SAME}
    assert same == {(place, place + NUM_SCENES) for place in range(NUM_SCENES)}


def test_other_prints_and_colours_are_not_the_same_picture():
    plain = [shirt(0, prints=0, colour=(40, 60, 140)) for _ in range(6)]
    for number, image in enumerate(plain):
        ImageDraw.Draw(image).rectangle((100, 110 + 8 * number, 125, 120 + 8 * number), fill=(230, 230, 60))
    colours = [shirt(1, colour=colour) for colour in ((40, 60, 140), (60, 40, 140), (40, 100, 140), (140, 60, 40))]
    pairs = found(plain + colours)
    assert all(difference >= PERHAPS for difference in pairs.values())
    assert {(a, b) for a in range(6) for b in range(a + 1, 6)} >= pairs.keys() - {(a, b) for a, b in pairs if a >= 6}


def test_a_small_other_print_is_perhaps_the_same():
    one, other = shirt(0), shirt(0)
    ImageDraw.Draw(other).rectangle((100, 190, 120, 200), fill=(250, 240, 60))
    assert found([one, other, scene(0)])[0, 1] >= PERHAPS


def test_blank_photos_match_no_other():
    blank = [Image.new("RGB", (200, 200), (255, 255, 250 - number)) for number in range(4)]
    assert found([*blank, shirt(0), shirt(0)]).keys() == {(4, 5)}


def test_the_content_has_no_margin_of_any_colour_and_a_uniform_photo_is_whole():
    goods = np.full((100, 120, 3), 255, dtype=np.uint8)
    goods[20:80, 30:90] = (10, 120, 40)
    assert content_box(goods) == (30, 20, 90, 80)
    framed = np.zeros((110, 130, 3), dtype=np.uint8)
    framed[5:105, 5:125] = goods
    assert content_box(framed) == (35, 25, 95, 85)
    assert content_box(np.full((50, 60, 3), 77, dtype=np.uint8)) == (0, 0, 60, 50)


def test_alignment_finds_the_part_that_was_cut_out():
    grey = np.asarray(scene(3, 640).convert("L"), dtype=np.float32)
    cells = SIDE * 10

    def block(left, top, right, bottom):
        part = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX, box=(left, top, right, bottom))
        return np.asarray(part, dtype=np.float32)[None]

    start = np.array([[0.03, 0.97, 0.03, 0.97]], dtype=np.float32)
    boxes = align(block(0, 0, cells, cells), block(38.4, 6.4, 614.4, 620.8), start)
    np.testing.assert_allclose(boxes, [[0.06, 0.96, 0.01, 0.97]], atol=0.004)


def test_neighbour_levels_equal_a_slow_loop():
    images = np.random.default_rng(0).random((2, 5, 5), dtype=np.float32)
    low, high = neighbour_levels(images)
    for y in range(5):
        for x in range(5):
            around = images[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            np.testing.assert_array_equal(low[:, y, x], around.min(axis=(1, 2)))
            np.testing.assert_array_equal(high[:, y, x], around.max(axis=(1, 2)))


def test_resampling_all_of_an_image_returns_it():
    images = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(resample(images, np.array([[0, 1, 0, 1]] * 2, dtype=np.float32), 8), images, atol=1e-6)


def test_the_first_view_is_the_thumbnail_and_the_last_ones_are_mirrored():
    row = thumbnail(scene(1))[None]
    assert row.shape == (1, BYTES)
    mirrored = thumbnail(scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT))[None]
    assert np.abs(luma(row)[:, :, ::-1] - luma(mirrored)).max() <= 2
    distance = np.bitwise_count(hash_views(row).hashes[:, WHOLE[1]] ^ hash_views(mirrored).hashes[:, 0]).sum()
    assert distance <= 2

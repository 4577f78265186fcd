import io

import numpy as np
import pytest
from drawn_view import drawn_view
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import (
    AFTER_FIXED,
    CLIP_MARGIN,
    FROM_PHOTO,
    _random_box,
    clip_view,
    fixed_view,
)
from pipeline_lib.transforms.resizing import VERSION, Resizing, preprocessing_fingerprint


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return mid greys. With black and white, Pillow clips between its two passes, and the box sets their order."""
    pixels = np.random.default_rng(seed).integers(90, 166, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def resize_then_crop(image: Image.Image, size: int) -> np.ndarray:
    """Return the same view in two steps, as it is usually implemented."""
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 96))
def test_one_step_equals_resize_then_crop(width: int, height: int, size: int) -> None:
    image = noise(width, height)
    view = fixed_view(image, size)
    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    assert view.flags["C_CONTIGUOUS"]
    assert np.abs(view.astype(int) - resize_then_crop(image, size)).max() <= 2


def pad_then_resize(image: Image.Image, size: int, ratio: float) -> np.ndarray:
    """Return the view of CLIP4Cir's TargetPad (SquarePad with ratio 1), Resize and CenterCrop, one after another."""
    width, height = image.size
    if max(width, height) / min(width, height) >= ratio:
        longer = max(width, height) / ratio
        across, along = max(int((longer - width) / 2), 0), max(int((longer - height) / 2), 0)
        padded = np.pad(np.asarray(image), ((along, along), (across, across), (0, 0)))
        image = Image.fromarray(padded)
    return resize_then_crop(image, size)


@pytest.mark.parametrize(("mode", "ratio"), [("target_pad", 1.25), ("square_pad", 1.0)])
@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(2, 96))
@example(width=100, height=124, size=64)  # under 1.25: not padded
@example(width=100, height=125, size=64)
@example(width=101, height=127, size=64)
@example(width=7, height=299, size=33)
@example(width=299, height=1, size=2)
def test_a_padded_view_equals_padding_then_resizing_then_cropping(mode, ratio, width, height, size) -> None:
    image = noise(width, height)
    view, expected = fixed_view(image, size, Resizing(mode)), pad_then_resize(image, size, ratio)
    # Pillow rounds and clips between its passes, whose order differs; at the edge of the padding that is some levels.
    difference = np.abs(view.astype(int) - expected)
    assert view.shape == (size, size, 3) and difference.max() <= 6 and difference.mean() <= 1


def test_a_tall_product_is_cut_by_shortest_and_complete_with_square_pad() -> None:
    """A third red, a third green, a third blue from head to foot, of 300 x 900 pixels."""
    image = Image.new("RGB", (300, 900), "red")
    image.paste((0, 255, 0), (0, 300, 300, 600))
    image.paste("blue", (0, 600, 300, 900))
    share = {}
    for mode in ("shortest", "target_pad", "square_pad", "squash"):
        view = fixed_view(image, 90, Resizing(mode)).astype(int)
        share[mode] = [round((view[..., channel] > 200).mean(), 2) for channel in range(3)]
    third = 1 / 3
    assert share["shortest"] == [0, 1, 0] and share["squash"] == [round(third, 2)] * 3
    assert np.allclose(share["square_pad"], [third * third] * 3, atol=0.02)
    # 300 of 720 columns of the middle 720 rows.
    assert np.allclose(share["target_pad"], [300 / 720 * rows / 720 for rows in (210, 300, 210)], atol=0.02)


@pytest.mark.parametrize("mode", ["shortest", "target_pad", "square_pad"])
@pytest.mark.parametrize("size", [(2, 200_000), (200_000, 2)])
def test_a_very_long_image_needs_little_memory(mode, size) -> None:
    view = fixed_view(Image.new("RGB", size, "red"), 64, Resizing(mode))
    assert view.shape == (64, 64, 3) and (mode != "shortest" or view[32, 32].tolist() == [255, 0, 0])


def test_fixed_view_of_a_file_takes_the_centre() -> None:
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    view = fixed_view(decode(stream.getvalue(), 20), 20)
    assert np.array_equal(view, np.broadcast_to([0, 0, 255], (20, 20, 3)))


def test_the_same_seed_epoch_and_row_draw_the_same_view() -> None:
    image = noise(80, 60)
    views = {
        key: clip_view(image, 24, np.random.default_rng(key), 0.3).tobytes()
        for key in [(7, 0, 0), (7, 0, 1), (7, 1, 0), (8, 0, 0)]
    }
    assert len(set(views.values())) == 4
    assert all(clip_view(image, 24, np.random.default_rng(key), 0.3).tobytes() == view for key, view in views.items())


@given(width=st.integers(1, 500), height=st.integers(1, 500), scale=st.floats(0.05, 1.0), seed=st.integers(0, 1000))
def test_a_random_crop_lies_inside_and_keeps_its_share(width: int, height: int, scale: float, seed: int) -> None:
    left, top, right, bottom = _random_box(width, height, np.random.default_rng(seed), scale)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(width, height) >= 50 and max(width, height) <= 1.3 * min(width, height):
        share = (right - left) * (bottom - top) / (width * height)
        assert scale * 0.93 <= share
        assert 0.7 <= (right - left) / (bottom - top) <= 1.43


@pytest.mark.parametrize(("width", "height", "scale"), [(240, 360, 0.9), (240, 600, 0.6), (600, 240, 0.6)])
def test_crops_of_a_long_photo_lie_at_random_places(width: int, height: int, scale: float) -> None:
    """No crop of such a share is within 3:4 and 4:3; the middle alone would be the same pixels in every epoch."""
    drawn = [_random_box(width, height, np.random.default_rng(seed), scale) for seed in range(300)]
    assert len(set(drawn)) > 30
    assert min(left + top for left, top, _, _ in drawn) <= 3
    assert max(right + bottom for _, _, right, bottom in drawn) >= width + height - 3
    assert {(right - left) / (bottom - top) for left, top, right, bottom in drawn} in ({3 / 4}, {4 / 3})


def test_half_of_the_random_views_are_flipped() -> None:
    image = Image.new("RGB", (40, 40), "white")
    image.paste("black", (0, 0, 20, 40))
    views = [clip_view(image, 16, np.random.default_rng((1, 0, row)), 1.0) for row in range(400)]
    flipped = sum(view[0, 8, 15] < view[0, 8, 0] for view in views)
    assert 150 < flipped < 250


def test_crop_scale_1_crops_to_the_entire_image() -> None:
    drawn = {_random_box(64, 64, np.random.default_rng(seed), 1.0) for seed in range(50)}
    assert {(right - left, bottom - top) for left, top, right, bottom in drawn} == {(64, 64)}


def test_a_fingerprint_depends_on_every_value_and_not_on_its_type() -> None:
    image = {"mean": [0.5] * 3, "std": [0.5] * 3}
    base = preprocessing_fingerprint(64, image)
    assert base == preprocessing_fingerprint(64, {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 80})
    assert base == preprocessing_fingerprint(64, {**image, "resize_mode": "shortest", "interpolation": "bicubic"})
    others = [
        preprocessing_fingerprint(80, image),
        preprocessing_fingerprint(64, image, flip=True),
        *(
            preprocessing_fingerprint(64, {**image, **change})
            for change in (
                {"mean": [0.4] * 3},
                {"std": [0.4] * 3},
                {"resize_mode": "squash"},
                {"resize_mode": "longest"},
                {"resize_mode": "target_pad"},
                {"resize_mode": "square_pad"},
                {"interpolation": "bilinear"},
            )
        ),
    ]
    assert len({base, *others}) == 10


def test_the_default_has_the_fingerprint_that_stores_and_indexes_have() -> None:
    image = {"mean": [0.5] * 3, "std": [0.25] * 3}
    stated = {"version": VERSION, "view": "none", "resample": "bicubic", "size": 64, **image}
    assert preprocessing_fingerprint(64, image) == digest_value(stated)
    assert Resizing.of(image).stated() == {} and Resizing("squash").stated() == {"resize_mode": "squash"}


def test_clip_crops_from_the_image_resized_to_size_plus_32() -> None:
    """Without cropping, the view is the image resized twice: to 96 pixels, then to 64."""
    image = noise(200, 200)
    resized = image.resize((96, 96), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC)
    expected = np.asarray(resized).transpose(2, 0, 1)
    for row in range(4):
        view = clip_view(image, 64, np.random.default_rng((1, 0, row)), 1.0)
        assert np.array_equal(view, expected) or np.array_equal(view, expected[:, :, ::-1])


def test_clip_does_not_enlarge_a_small_image_before_the_crop() -> None:
    image = noise(40, 40)
    view = clip_view(image, 32, np.random.default_rng(0), 1.0)
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(view, expected) or np.array_equal(view, expected[:, :, ::-1])


def test_a_reduced_jpeg_has_the_pixels_that_clip_needs() -> None:
    stream = io.BytesIO()
    noise(900, 1200).save(stream, "JPEG")
    for size in (32, 64, 224):
        assert min(decode(stream.getvalue(), size).size) >= size + CLIP_MARGIN


@pytest.mark.parametrize(("name", "flips"), [("jitter_flip", True), ("grayscale_blur", False)])
def test_other_views_have_the_position_of_the_fixed_view(name: str, flips: bool) -> None:
    """The left is black, the right white: colour jitter and blur do not move them, and only jitter_flip flips."""
    image = Image.new("RGB", (60, 40), "white")
    image.paste("black", (0, 0, 30, 40))
    views = [drawn_view(name, image, 20, (1, 0, row)) for row in range(200)]
    flipped = sum(view[0, 10, 19] < view[0, 10, 0] for view in views)
    assert 70 < flipped < 130 if flips else flipped == 0
    assert {(view.shape, view.dtype.name, view.flags["C_CONTIGUOUS"]) for view in views} == {
        ((3, 20, 20), "uint8", True)
    }


@pytest.mark.parametrize("name", [*AFTER_FIXED, *FROM_PHOTO])
def test_every_view_depends_on_its_seed(name: str) -> None:
    image = noise(80, 60)
    drawn = [drawn_view(name, image, 24, (7, 0, row), 0.3).tobytes() for row in range(8)]
    assert drawn == [drawn_view(name, image, 24, (7, 0, row), 0.3).tobytes() for row in range(8)]
    assert (len(set(drawn)) == 1) is (name == "none")

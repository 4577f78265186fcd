import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from made_clips import LEFT, RIGHT, Kind, colours_of, numbered, write_clip

from pipeline_lib.clips.pixels import DIRECT, Converter, turned
from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams

ONE = FramesParams(count=1, sampling="uniform", fps=1.0)
VP9 = {"deadline": "realtime", "cpu-used": "8", "crf": "4", "b": "0"}
X264 = {"preset": "ultrafast", "qp": "4"}
# The eight ways to turn and mirror, as a, b, c, d of the display matrix, and what NumPy does for the same.
TURNS = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): np.rot90,
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}


def read_one(file):
    [picture] = read_clip(file, ONE, float("inf"), lambda picture: picture).taken
    return picture


def matrix_of(a, b, c, d) -> list[int]:
    one = 1 << 16
    return [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]


@pytest.mark.parametrize("abcd", TURNS)
def test_turned_and_mirrored_clips_are_upright(tmp_path, abcd):
    coded = numbered(5, 64, 48)
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=X264)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.set_display_matrix(matrix_of(*abcd))
        frame = av.VideoFrame.from_ndarray(coded, "rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    picture = read_one(tmp_path / "turned.mp4")
    expected = TURNS[abcd](coded)
    assert picture.pixels.shape == expected.shape
    assert (picture.height, picture.width) == expected.shape[:2]
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 3


def test_every_turn_moves_each_pixel_to_the_place_that_the_matrix_says():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    for a, b, c, d in TURNS:
        result = turned(image, (a, b, c, d))
        columns = [a * x + c * y for y, x in itertools.product(range(3), range(4))]
        rows = [b * x + d * y for y, x in itertools.product(range(3), range(4))]
        for (y, x), column, row in zip(itertools.product(range(3), range(4)), columns, rows, strict=True):
            assert result[row - min(rows), column - min(columns), 0] == image[y, x, 0]


@pytest.mark.parametrize(
    ("name", "aspect", "size"),
    [
        ("wide.mp4", Fraction(16, 11), (93, 48)),
        ("wide.mkv", Fraction(16, 11), (93, 48)),
        ("tall.mp4", Fraction(1, 2), (64, 96)),
        ("square.mp4", Fraction(1), (64, 48)),
    ],
)
def test_pixels_that_are_not_square_give_the_shape_that_is_shown(tmp_path, name, aspect, size):
    kind = Kind(name, "libx264", options=X264, count=3, tags={"sample_aspect_ratio": aspect})
    picture = read_one(write_clip(tmp_path / name, kind))
    assert (picture.width, picture.height) == size
    assert picture.pixels.shape == (48, 64, 3)


def colour_clip(folder, size, space, tag, colour_range):
    """A clip coded with one matrix and range, and tagged with another or none."""
    width, height = size
    frame = av.VideoFrame.from_ndarray(numbered(5, width, height), "rgb24")
    coded = frame.reformat(format="yuv420p", dst_colorspace=space, dst_color_range=colour_range)
    path = folder / f"{height}-{space}-{tag}-{colour_range}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=X264)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if tag is not None:
            stream.codec_context.colorspace = tag
        stream.codec_context.color_range = colour_range
        coded.colorspace = tag or 2
        container.mux([*stream.encode(coded), *stream.encode(None)])
    return path


@pytest.mark.parametrize(
    ("size", "space", "tag", "colour_range"),
    [
        ((64, 48), 5, None, 1),  # BT.601 by its size
        ((64, 48), 1, 1, 1),
        ((64, 48), 5, 6, 2),
        ((1280, 720), 1, None, 1),  # BT.709 by its size
        ((1280, 720), 5, 6, 1),
        ((1280, 720), 1, 1, 2),
    ],
)
def test_matrix_and_range_are_those_of_the_tags_or_of_the_size(tmp_path, size, space, tag, colour_range):
    picture = read_one(colour_clip(tmp_path, size, space, tag, colour_range))
    for colour, expected in zip(colours_of(picture.pixels), (LEFT, RIGHT), strict=True):
        assert np.abs(colour.astype(int) - expected).max() <= 4


@pytest.mark.parametrize("kind", [
    Kind("alpha.mov", "qtrle", pixels="argb", count=3),
    Kind("alpha.mkv", "ffv1", pixels="bgra", count=3),
    Kind("alpha4444.mov", "prores_ks", pixels="yuva444p10le", count=3, options={"profile": "4444"}),
    Kind("alpha.webm", "libvpx-vp9", pixels="yuva420p", count=3, options=VP9),
    Kind("alpha8.webm", "libvpx", pixels="yuva420p", count=3, options={**VP9, "b": "1M", "auto-alt-ref": "0"}),
], ids=lambda kind: kind.name)  # fmt: skip
def test_what_alpha_hides_is_white(tmp_path, kind):
    pixels = np.full((48, 64, 4), (0, 0, 200, 255), np.uint8)
    pixels[:, :32, 3] = 0
    picture = read_one(write_clip(tmp_path / kind.name, kind, [pixels] * 3))
    left, right = colours_of(picture.pixels)
    assert np.abs(left.astype(int) - 255).max() <= 6 and np.abs(right.astype(int) - (0, 0, 200)).max() <= 8


def test_one_field_of_an_interlaced_clip_is_read_in_its_full_shape(tmp_path):
    """The fields show two pictures; a woven frame would have lines of both."""
    woven = numbered(0, 64, 48)
    woven[0::2], woven[1::2] = 240, 10
    options = {"flags": "+ildct+ilme", "preset": "ultrafast", "qp": "4", "x264-params": "interlaced=1:tff=1"}
    kind = Kind("interlaced.mkv", "libx264", options=options, count=3)
    clip = read_clip(write_clip(tmp_path / kind.name, kind, [woven] * 3), ONE, float("inf"), lambda picture: picture)
    [picture] = clip.taken
    assert (picture.width, picture.height) == (64, 48) and picture.pixels.shape == (24, 64, 3)
    assert picture.pixels.min() > 220
    assert [note.reason for note in clip.notes] == ["interlaced clip"]


@pytest.mark.parametrize("pixels", sorted(DIRECT))
def test_the_faster_conversion_gives_the_pixels_of_the_planar_one(pixels):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
    converter = Converter()
    fast, planar = converter._rgb(frame), converter._planes(frame, "gbrp")
    assert fast.shape == (48, 64, 3) and np.abs(fast.astype(int) - planar).max() <= 1


def test_colour_detail_across_is_whole_where_ffmpeg_alone_would_halve_it():
    image = np.empty((47, 96, 3), np.uint8)
    image[:] = (200, 40, 40)
    image[:, (np.arange(96) // 3) % 2 == 0] = (40, 40, 200)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv444p10le", interpolation="BICUBIC")
    ours = Converter()._rgb(frame).astype(int)
    assert np.abs(ours - image).max() <= 3

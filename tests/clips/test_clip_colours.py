"""Frames of a clip with a colour profile have the colours that a photo with it has in the shards."""

import numpy as np
import pytest
from drawn_files import from_primaries, rgb_profile
from made_clips import number_of, numbered
from PIL import Image

from pipeline_lib.clips.pixels import display_matrix
from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.shards.clip_reader import ClipReader
from pipeline_lib.transforms.decode import decode

TWO = FramesParams(count=2, sampling="uniform", fps=1.0)
RED = (200, 40, 40)


def written(path, mode="RGB", profile=None):
    frames = [Image.new(mode, (64, 48), colour + (255,) * (mode == "RGBA")) for colour in (RED, (20, 60, 220))]
    options = {"PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    kind = path.suffix[1:].upper()
    profile = rgb_profile("Display P3") if profile is None else profile
    frames[0].save(
        path, kind, save_all=True, append_images=frames[1:], duration=100, icc_profile=profile, **options[kind]
    )
    return path


def turned_away(path):
    """The file shows its picture lying on its left side, by EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(numbered(number, 64, 48)).transpose(Image.Transpose.ROTATE_90) for number in (3, 5)]
    options = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, exif=exif, **options)
    return path


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_frames_that_exif_turns_are_upright(kind, tmp_path):
    clip = read_clip(turned_away(tmp_path / f"a.{kind}"), TWO, float("inf"), lambda picture: picture)
    assert [number_of(picture.pixels) for picture in clip.taken] == [3, 5]
    assert {(picture.width, picture.height) for picture in clip.taken} == {(64, 48)}


@pytest.mark.parametrize(("rotation", "matrix"), [(0, None), (90, (0, -1, 1, 0)), (-180, (-1, 0, 0, -1))])
def test_a_block_that_pyav_does_not_know_leaves_the_rotation(rotation, matrix):
    class Frame:
        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    Frame.rotation = rotation
    assert display_matrix(Frame()) == matrix


def first(file, convert):
    return read_clip(file, TWO, float("inf"), lambda picture: picture.pixels, convert).taken[0][20, 20].astype(int)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_frames_of_display_p3_become_srgb_or_keep_their_numbers(kind, mode, tmp_path):
    file = written(tmp_path / f"a.{kind}", mode)
    assert np.abs(first(file, True) - from_primaries(RED, "Display P3")).max() <= 4
    assert np.abs(first(file, False) - RED).max() <= 4


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_broken_profile_of_a_clip_is_noted_and_not_used(kind, tmp_path):
    file = written(tmp_path / f"a.{kind}", profile=b"no profile at all")
    clip = read_clip(file, TWO, float("inf"), lambda picture: picture.pixels)
    assert np.abs(clip.taken[0][20, 20].astype(int) - RED).max() <= 4
    assert [note.reason for note in clip.notes] == ["colour profile not used"]


@pytest.mark.parametrize("convert", [True, False])
def test_the_stored_frames_have_the_colours_of_the_setting(convert, tmp_path):
    written(tmp_path / "a.png")
    read = ClipReader(tmp_path.resolve(), TWO, 32, 100, 10**6, convert_profile=convert)("a.png")
    red = from_primaries(RED, "Display P3") if convert else RED
    assert np.abs(np.asarray(decode(read.frames[0].data))[10, 10].astype(int) - red).max() <= 4

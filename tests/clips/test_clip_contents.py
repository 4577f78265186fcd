"""Cover pictures, hidden first images, HDR and alpha of a file, and how many of its packets are decoded."""

from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import Kind, colours_of, number_of, numbered, write_clip
from PIL import Image

from pipeline_lib.clips import read
from pipeline_lib.clips.names import is_animated, may_be_clip
from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams

EIGHT = FramesParams(count=8, sampling="uniform", fps=1.0)
EVEN_OF_20 = [1, 4, 6, 9, 11, 14, 16, 19]
EVEN_OF_10 = [1, 2, 3, 4, 6, 7, 8, 9]


def numbers(file: Path) -> list[int]:
    return read_clip(file, EIGHT, float("inf"), lambda picture: number_of(picture.pixels)).taken


def write_covered(path: Path, side: int, first: bool) -> Path:
    """A clip of 20 frames of 64 x 48 with a square cover picture, whose stream comes first or last."""

    def add_cover():
        stream = container.add_stream("mjpeg", rate=1)
        stream.width = stream.height = side
        stream.pix_fmt, stream.disposition = "yuvj420p", av.stream.Disposition.attached_pic
        return stream

    with av.open(str(path), "w") as container:
        cover = add_cover() if first else None
        video = container.add_stream("libx264", rate=25, options={"preset": "fast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        cover = cover or add_cover()
        container.start_encoding()
        picture = av.VideoFrame.from_ndarray(numbered(33, side, side), "rgb24").reformat(format="yuvj420p")
        container.mux([*cover.encode(picture), *cover.encode(None)])
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered(number, 64, 48), "rgb24")
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["covered.mp4", "covered.mkv"])
@pytest.mark.parametrize("side", [32, 640])
def test_the_frames_are_those_of_the_video_and_not_its_cover_picture(tmp_path, name, first, side):
    assert numbers(write_covered(tmp_path / name, side, first)) == EVEN_OF_20


@pytest.mark.parametrize(("transfer", "noted"), [(16, True), (18, True), (1, False)])
def test_an_hdr_clip_is_read_with_a_note(tmp_path, transfer, noted):
    params = f"log-level=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    options, tags = {"preset": "ultrafast", "x265-params": params}, {"color_trc": transfer}
    kind = Kind("hdr.mp4", "libx265", pixels="yuv420p10le", count=8, options=options, tags=tags)
    clip = read_clip(write_clip(tmp_path / kind.name, kind), EIGHT, float("inf"), lambda picture: picture)
    assert clip.notes == ((("HDR clip", "its colours are not tone-mapped"),) if noted else ())
    assert len(clip.taken) == 8


def test_an_animated_avif_is_a_clip_and_a_still_one_a_photo(tmp_path):
    """Its first stream is a picture of one frame."""
    first, *others = (Image.fromarray(numbered(number, 64, 48)) for number in range(10))
    first.save(tmp_path / "moves.avif", save_all=True, append_images=others, duration=100, quality=90)
    first.save(tmp_path / "still.avif")
    assert (
        may_be_clip("moves.avif") and is_animated(tmp_path / "moves.avif") and not is_animated(tmp_path / "still.avif")
    )
    assert numbers(tmp_path / "moves.avif") == EVEN_OF_10


def test_the_image_that_an_apng_shows_to_viewers_without_animation_is_no_frame(tmp_path):
    frames = [Image.fromarray(numbered(number, 64, 48)) for number in range(10)]
    hidden = Image.fromarray(numbered(33, 64, 48))
    hidden.save(tmp_path / "a.png", save_all=True, append_images=frames, duration=100, default_image=True)
    assert is_animated(tmp_path / "a.png") and numbers(tmp_path / "a.png") == EVEN_OF_10


def test_what_the_alpha_of_a_webp_hides_is_white(tmp_path):
    pixels = np.full((48, 64, 4), (0, 0, 200, 255), np.uint8)
    pixels[:, :32, 3] = 0
    first, *others = (Image.fromarray(np.roll(pixels, move, axis=0)) for move in range(4))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=100, lossless=True, exact=True)
    for picture in read_clip(tmp_path / "a.webp", EIGHT, float("inf"), lambda picture: picture).taken:
        assert [colour.tolist() for colour in colours_of(picture.pixels)] == [[255, 255, 255], [0, 0, 200]]


class Watched:
    """A decoder that counts the packets that it gets."""

    def __init__(self, decoder):
        self.__dict__.update(decoder=decoder, given=0)

    def __getattr__(self, name):
        return getattr(self.decoder, name)

    def __setattr__(self, name, value):
        setattr(self.decoder, name, value)

    def decode(self, packet):
        self.__dict__["given"] += packet is not None
        return self.decoder.decode(packet)


def test_the_decoder_gets_no_packet_up_to_a_later_key_frame_and_none_after_the_last_wanted_frame(tmp_path, monkeypatch):
    kind = Kind("long.mp4", "libx264", options={"preset": "fast", "bf": "2", "g": "5"}, count=60)
    file, decoders, decoder_of = write_clip(tmp_path / kind.name, kind), [], read.decoder_of
    monkeypatch.setattr(read, "decoder_of", lambda stream: decoders.append(Watched(decoder_of(stream))) or decoders[-1])
    for count, most in ((3, 15), (12, 60)):
        about = FramesParams(count=count, sampling="uniform", fps=1.0)
        assert len(read_clip(file, about, float("inf"), lambda picture: picture.width).taken) == count
        # A group of 5 frames for each, of which the decoder holds back up to 2.
        assert count <= decoders[-1].given <= most
    head = FramesParams(count=6, sampling="head", fps=1.0)
    read_clip(file, head, float("inf"), lambda picture: picture.width)
    assert decoders[-1].given <= 10


def test_a_process_has_one_reformatter_whose_tables_are_used_again(tmp_path, monkeypatch):
    from av.video import reformatter

    used, made = [], reformatter.VideoReformatter

    class Recorded:
        def __init__(self):
            self.own = made()

        def reformat(self, *arguments, **options):
            used.append(self)
            return self.own.reformat(*arguments, **options)

    monkeypatch.setattr(reformatter, "VideoReformatter", Recorded)
    read.converter.cache_clear()
    for name, size in (("a.mp4", (64, 48)), ("b.mp4", (48, 64))):
        read_clip(write_clip(tmp_path / name, Kind(name, "libx264", size=size)), EIGHT, float("inf"), lambda picture: 0)
    read.converter.cache_clear()
    assert len(used) == 16 and len(set(map(id, used))) == 1

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import Kind, number_of, numbered, write_clip
from PIL import Image

from pipeline_lib.clips.container import OPTIONS
from pipeline_lib.clips.names import is_animated
from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.transforms.formats import BadPhotoError

EIGHT = FramesParams(count=8, sampling="uniform", fps=1.0)
B_FRAMES = {"preset": "fast", "bf": "2", "g": "12"}
H264 = Kind("clip.mp4", "libx264", options=B_FRAMES)


def read(file: Path, params: FramesParams = EIGHT, max_pixels: float = float("inf")):
    return read_clip(file, params, max_pixels, lambda picture: number_of(picture.pixels))


def refused(file: Path, **limits) -> str:
    with pytest.raises(BadPhotoError) as caught:
        read(file, **limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_sound(path: Path, cover: bool) -> Path:
    """A file with sound, and a cover picture or nothing."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        picture = container.add_stream("png", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
        for number in range(20):
            samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            samples.rate, samples.pts = 44100, number * 1024
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
        if picture is not None:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(numbered(5, 64, 48), "rgb24")))
            container.mux(picture.encode(None))
    return path


def write_webp(path: Path, durations: list[int]) -> Path:
    frames = [Image.fromarray(numbered(number, 64, 48)) for number in range(len(durations))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, lossless=True)
    return path


def test_sound_alone_and_a_cover_picture_are_no_clips(tmp_path):
    assert refused(write_sound(tmp_path / "a.mp4", cover=False)) == "no video stream: no video beside 1 of sound"
    covered = write_sound(tmp_path / "b.mp4", cover=True)
    assert refused(covered) == "no video stream: a cover picture and no video beside 1 of sound"


def test_an_edit_list_cuts_frames_away_and_those_behind_it_are_decoded_from_them(tmp_path):
    container = {"avoid_negative_ts": "disabled"}
    kind = Kind("edited.mp4", "libx264", options=B_FRAMES, pts=tuple(range(-8, 12)), container=container)
    clip = read(write_clip(tmp_path / kind.name, kind))
    assert (clip.num_frames, clip.taken) == (12, [9, 10, 12, 13, 15, 16, 18, 19])
    assert clip.times[0] == pytest.approx(0.04) and clip.duration == pytest.approx(0.48)


def test_one_frame_and_fewer_frames_than_asked_are_counted_and_never_repeated(tmp_path):
    for count in (1, 2, 5):
        clip = read(write_clip(tmp_path / f"{count}.mp4", Kind("", "libx264", count=count)))
        assert clip.taken == list(range(count)) and len(clip.times) == count
        assert clip.notes == (("fewer frames than frames.count", f"{count} of 8"),)
        assert all(np.isfinite([*clip.times, clip.duration]))
    assert read(write_clip(tmp_path / "8.mp4", Kind("", "libx264", count=8))).notes == ()


@pytest.mark.parametrize("kind", [
    H264,
    Kind("start.mov", "libx264", options=B_FRAMES, container={"movflags": "faststart"}),
    Kind("parts.mp4", "libx264", options=B_FRAMES, container={"movflags": "frag_keyframe+empty_moov"}),
    Kind("clip.mkv", "libx264", options=B_FRAMES),
    Kind("clip.webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    Kind("clip.avi", "mpeg4"),
    Kind("clip.gif", "gif", pixels="rgb8", rate=Fraction(20)),
    Kind("clip.apng", "apng", pixels="rgb24"),
], ids=lambda kind: kind.name)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_clip_is_refused(tmp_path, kind, share):
    file = write_clip(tmp_path / kind.name, kind)
    assert len(read(file).taken) == 8
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    assert refused(file).startswith("truncated clip: ")


def test_a_truncated_webp_is_refused(tmp_path):
    file = write_webp(tmp_path / "a.webp", [50] * 20)
    file.write_bytes(file.read_bytes()[:-100])
    assert refused(file).startswith("truncated clip: ")


def test_a_flash_video_that_ends_before_its_duration_is_refused(tmp_path):
    file = write_clip(tmp_path / "a.flv", Kind("a.flv", "flv"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert refused(file).startswith("truncated clip: frames up to ")


def test_a_clip_with_a_damaged_part_is_used_with_a_note_or_refused(tmp_path):
    file = write_clip(tmp_path / "a.mov", Kind("a.mov", "mjpeg", pixels="yuvj420p"))
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in packets[7:9]:
        data[position : position + size] = bytes(size)
    file.write_bytes(data)
    every = FramesParams(count=20, sampling="head", fps=1.0)
    clip = read(file, every)
    assert clip.taken == [number for number in range(20) if number not in (7, 8)]
    assert ("damaged clip", "2 of 20 frames cannot be decoded") in clip.notes
    for position, size in packets[1:18]:
        data[position : position + size] = bytes(size)
    file.write_bytes(data)
    assert refused(file, params=every) == "damaged clip: 17 of 20 frames cannot be decoded"


def test_a_clip_without_frames_is_refused(tmp_path):
    file = write_clip(tmp_path / "a.mov", Kind("a.mov", "mjpeg", pixels="yuvj420p", count=3))
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    file.write_bytes(data)
    assert refused(file) == "no frames: none of 3 can be decoded"


def test_a_playlist_under_the_name_of_a_clip_opens_no_other_file(tmp_path):
    """HLS and concat would read any file of the machine."""
    secret = write_clip(tmp_path / "secret.ts", Kind("", "mpeg2video"))
    lists = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret.name}'\n",
    )
    for number, text in enumerate(lists):
        file = tmp_path / f"{number}.mp4"
        file.write_text(text)
        assert refused(file).startswith("unreadable clip: no format that is read")
    assert "hls" not in OPTIONS["format_whitelist"] and "concat" not in OPTIONS["format_whitelist"]


def test_a_file_that_is_no_clip_and_too_many_pixels_are_refused(tmp_path):
    file = tmp_path / "a.mp4"
    for data in (b"\0" * 99, b"<html>", Image.new("RGB", (9, 9)).tobytes()):
        file.write_bytes(data)
        assert refused(file).startswith("unreadable clip")
    write_clip(file, H264)
    assert refused(file, max_pixels=64 * 48 - 1) == "too many pixels: 64 x 48"
    webp = write_webp(tmp_path / "a.webp", [50] * 3)
    assert refused(webp, max_pixels=64 * 48 - 1) == "too many pixels: 64 x 48"
    data = bytearray(webp.read_bytes())
    data[26:28] = b"\xff\xff"  # of the width of the canvas, above the limit of Pillow
    webp.write_bytes(data)
    assert refused(webp).startswith("too many pixels: Image size (")


def test_webp_is_read_by_the_durations_of_its_frames(tmp_path):
    durations = [100, 900, 0, 1000, 40, 40, 1000, 500]
    clip = read(write_webp(tmp_path / "a.webp", durations), FramesParams(count=4, sampling="uniform", fps=1.0))
    # Starts 0, .1, 1, 1.1, 2.1, 2.14, 2.18, 3.18, end 3.68; middles .46, 1.38, 2.3, 3.22.
    assert clip.taken == [1, 3, 6, 7]
    assert clip.times == pytest.approx([0.1, 1.1, 2.18, 3.18]) and clip.duration == pytest.approx(3.68)


def test_a_gif_has_the_pixels_that_pillow_reads_and_white_where_it_is_transparent(tmp_path):
    frames = [Image.fromarray(numbered(number, 64, 48)).quantize(16) for number in range(6)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 0, 50, 50, 50, 50])
    about = FramesParams(count=6, sampling="head", fps=1.0)
    clip = read_clip(tmp_path / "a.gif", about, float("inf"), lambda picture: picture.pixels)
    with Image.open(tmp_path / "a.gif") as gif:
        for number, pixels in enumerate(clip.taken):
            gif.seek(number)
            assert np.array_equal(pixels, np.asarray(gif.convert("RGB")))
    assert clip.times[:3] == pytest.approx([0, 0.1, 0.2])  # a delay of 0 is 100 ms
    hidden = np.zeros((48, 64, 4), np.uint8)
    hidden[:, 32:] = (200, 0, 0, 255)
    moved = [Image.fromarray(hidden), Image.fromarray(np.roll(hidden, 8, axis=1))]
    moved[0].save(tmp_path / "b.gif", save_all=True, append_images=moved[1:], duration=100, disposal=2)
    [first, _] = read_clip(tmp_path / "b.gif", about, float("inf"), lambda picture: picture.pixels).taken
    assert first[20, 5].tolist() == [255, 255, 255] and first[20, 60].tolist() == [200, 0, 0]


def test_pictures_are_clips_only_if_they_move(tmp_path):
    picture = Image.fromarray(numbered(1, 64, 48))
    for name in ("still.gif", "still.webp", "still.png"):
        picture.save(tmp_path / name)
        assert not is_animated(tmp_path / name), name
    for name in ("moves.gif", "moves.webp", "moves.png"):
        others = [Image.fromarray(numbered(number, 64, 48)) for number in (2, 3)]
        picture.save(tmp_path / name, save_all=True, append_images=others, duration=100)
        assert is_animated(tmp_path / name), name
    (tmp_path / "video.gif").write_bytes(write_clip(tmp_path / "a.mp4", H264).read_bytes())
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    assert is_animated(tmp_path / "video.gif") and not is_animated(tmp_path / "broken.gif")


def test_the_size_may_change_within_a_clip(tmp_path):
    stream_bytes = io.BytesIO()
    for size, first in (((64, 48), 0), ((96, 64), 10)):
        encoder = av.CodecContext.create("mpeg2video", "w")
        encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        for number in range(first, first + 10):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in [*encoder.encode(frame), *(encoder.encode(None) if number == first + 9 else [])]:
                stream_bytes.write(bytes(packet))
    file = tmp_path / "a.ts"
    with av.open(io.BytesIO(stream_bytes.getvalue()), format="mpegvideo") as source, av.open(str(file), "w") as out:
        target = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, 25), target
                out.mux(packet)
    clip = read_clip(file, EIGHT, float("inf"), lambda picture: (picture.width, number_of(picture.pixels)))
    # FFmpeg's decoder loses frame 9, the last one of its size.
    assert clip.notes == (("damaged clip", "1 of 20 frames cannot be decoded"),)
    assert clip.taken == [(64, 1), (64, 4), (64, 6), (64, 8), (96, 11), (96, 14), (96, 16), (96, 19)]


def test_packets_are_left_out_up_to_a_later_key_frame_and_the_pixels_stay(tmp_path):
    kind = Kind("long.mp4", "libx264", options={"preset": "fast", "bf": "2", "g": "5"}, count=60)
    about = FramesParams(count=3, sampling="uniform", fps=1.0)
    file = write_clip(tmp_path / kind.name, kind)
    ours = read_clip(file, about, float("inf"), lambda picture: picture.pixels)
    with av.open(str(file)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [number_of(pixels) for pixels in ours.taken] == [10, 30, 50]
    for number, pixels in zip((10, 30, 50), ours.taken, strict=True):
        assert np.array_equal(pixels, frames[number])

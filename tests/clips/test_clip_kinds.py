"""A folder of many kinds of clips, as users bring them: sizes, rates, codecs, pixel formats, containers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_clips import LEFT, RIGHT, Kind, colours_of, number_of, slow_nearest, write_clip

from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams

PARAMS = FramesParams(count=8, sampling="uniform", fps=1.0)
B_FRAMES = {"preset": "fast", "bf": "3", "g": "12"}
OPEN_GOP = {"preset": "fast", "x264-params": "open-gop=1:keyint=8:min-keyint=4"}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}
FAST = {"preset": "ultrafast"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}
ALT_REF = {"deadline": "good", "cpu-used": "5", "lag-in-frames": "10", "auto-alt-ref": "1", "b": "500k"}
DOCS = Path(__file__).parents[2] / "docs/video.md"
VARIABLE = (0, 1, 2, 3, 30, 31, 80, 81, 82, 100)
KINDS = (
    Kind("h264.mp4", "libx264", options=B_FRAMES),
    Kind("h264.mov", "libx264", options=B_FRAMES, rate=Fraction(30000, 1001)),
    Kind("h264.mkv", "libx264", options=B_FRAMES, rate=Fraction(24000, 1001)),
    Kind("h264_b.avi", "libx264", options=B_FRAMES),
    Kind("h264.ts", "libx264", options=B_FRAMES),
    Kind("h264.m2ts", "libx264", options=B_FRAMES),
    Kind("h264.flv", "libx264", options=B_FRAMES),
    Kind("h264.3gp", "libx264", options=B_FRAMES),
    Kind("slow.mp4", "libx264", options=B_FRAMES, rate=Fraction(1)),
    Kind("fast.mp4", "libx264", options=B_FRAMES, rate=Fraction(60), count=50),
    Kind("h264_444_odd.mp4", "libx264", options=B_FRAMES, pixels="yuv444p", size=(65, 47)),
    Kind("h264_422_odd.mkv", "libx264", options=B_FRAMES, pixels="yuv422p", size=(64, 47)),
    Kind("h264_10.mp4", "libx264", options=B_FRAMES, pixels="yuv420p10le"),
    Kind("h264_full.mp4", "libx264", options=B_FRAMES, pixels="yuvj420p"),
    Kind("h264_open_gop.mp4", "libx264", options=OPEN_GOP, count=50),
    Kind("h264_open_gop.ts", "libx264", options=OPEN_GOP, count=50),
    Kind("h264_fragments.mp4", "libx264", options=B_FRAMES, container={"movflags": "frag_keyframe+empty_moov"}),
    Kind("h264_refresh.mp4", "libx264", options={"x264-params": "intra-refresh=1:keyint=8"}, count=50),
    Kind("h264_variable.mp4", "libx264", options=B_FRAMES, pts=VARIABLE),
    Kind("h264_variable.mkv", "libx264", options=B_FRAMES, pts=VARIABLE),
    Kind("h264_edited.mp4", "libx264", options=B_FRAMES, pts=tuple(range(-8, 12)),
         container={"avoid_negative_ts": "disabled"}),
    Kind("hevc.mp4", "libx265", options=X265),
    Kind("hevc_10.mkv", "libx265", options=X265, pixels="yuv420p10le"),
    Kind("mpeg4.avi", "mpeg4"),
    Kind("mpeg4_b.avi", "mpeg4", options={"bf": "2"}),
    Kind("mpeg4_b.mp4", "mpeg4", options={"bf": "2"}),
    Kind("mpeg4.mkv", "mpeg4", size=(70, 50)),
    Kind("mpeg2.mpg", "mpeg2video", options={"bf": "2"}),
    Kind("mpeg2.ts", "mpeg2video", options={"bf": "2"}),
    Kind("mpeg1.mpg", "mpeg1video"),
    Kind("vp8.webm", "libvpx", options={"deadline": "realtime", "b": "500k"}),
    Kind("vp8_alt_ref.webm", "libvpx", options=ALT_REF),
    Kind("vp9_odd.webm", "libvpx-vp9", options=VP9, size=(65, 49)),
    Kind("vp9_alt_ref.webm", "libvpx-vp9", options=ALT_REF),
    Kind("vp9.mp4", "libvpx-vp9", options=VP9),
    Kind("vp9_variable.webm", "libvpx-vp9", options=VP9, pts=VARIABLE),
    Kind("av1.mp4", "libsvtav1", options={"preset": "12"}),
    Kind("av1.webm", "libsvtav1", options={"preset": "12"}),
    Kind("mjpeg.avi", "mjpeg", pixels="yuvj420p"),
    Kind("mjpeg_odd.mov", "mjpeg", pixels="yuvj422p", size=(63, 45)),
    Kind("ffv1.mkv", "ffv1"),
    Kind("ffv1_rgb.mkv", "ffv1", pixels="bgr0"),
    Kind("ffv1_alpha.mkv", "ffv1", pixels="bgra"),
    Kind("ffv1_16.mkv", "ffv1", pixels="yuv444p16le"),
    Kind("ffv1_411.mkv", "ffv1", pixels="yuv411p"),
    Kind("huffyuv.avi", "huffyuv", pixels="yuv422p"),
    Kind("utvideo.avi", "utvideo", pixels="gbrp"),
    Kind("raw.avi", "rawvideo", pixels="bgr24"),
    Kind("raw.mov", "rawvideo", pixels="yuyv422"),
    Kind("raw_nv12.mkv", "rawvideo", pixels="nv12"),
    Kind("prores.mov", "prores_ks", pixels="yuv422p10le"),
    Kind("prores_4444.mov", "prores_ks", pixels="yuva444p10le", options={"profile": "4444"}),
    Kind("qtrle.mov", "qtrle", pixels="rgb24"),
    Kind("qtrle_alpha.mov", "qtrle", pixels="argb"),
    Kind("png.mov", "png", pixels="rgb48be"),
    Kind("jpeg2000.mov", "jpeg2000", pixels="rgb24"),
    Kind("flv1.flv", "flv"),
    Kind("wmv2.wmv", "wmv2"),
    Kind("msmpeg4.avi", "msmpeg4"),
    Kind("cinepak.avi", "cinepak", pixels="rgb24"),
    Kind("svq1.mov", "svq1", pixels="yuv410p"),
    Kind("animation.gif", "gif", pixels="rgb8", rate=Fraction(20)),
    Kind("odd.gif", "gif", pixels="rgb8", rate=Fraction(10), size=(63, 47)),
    Kind("animation.apng", "apng", pixels="rgb24"),
    Kind("sound.mp4", "libx264", options=B_FRAMES, sound="aac"),
    Kind("sound.mkv", "libx264", options=B_FRAMES, sound="aac"),
    Kind("sound.mov", "libx264", options=B_FRAMES, sound="pcm_s16le"),
    Kind("sound.ts", "libx264", options=B_FRAMES, sound="mp2"),
    Kind("sound.avi", "mpeg4", sound="pcm_s16le"),
    Kind("sound.webm", "libvpx-vp9", options=VP9, sound="libopus"),
    Kind("hd.mp4", "libx264", options=FAST, size=(1920, 1080), count=10, tags={"colorspace": 1}, sound="aac"),
    Kind("portrait.mov", "libx264", options=FAST, size=(640, 360), turned=True, sound="aac"),
)  # fmt: skip
# Levels: lossy codecs, and a gif's 256 fixed colours.
TOLERANCE = {".gif": 60}


def faults(folder: Path, kind: Kind) -> list[str]:
    """What is wrong with the frames of a clip; [] = nothing."""
    clip = read_clip(write_clip(folder / kind.name, kind), PARAMS, float("inf"), lambda picture: picture)
    numbers = [number for number, time in enumerate(kind.times()) if time >= 0]
    times = np.array([time for time in kind.times() if time >= 0]) / float(kind.rate)
    times -= times[0]
    end = times[-1] + (1 / float(kind.rate) if not kind.pts else clip.duration - times[-1])
    middles = (np.arange(PARAMS.count) + 0.5) * end / PARAMS.count
    nearest = sorted({slow_nearest(times, middle) for middle in middles})
    found = []
    read = [number_of(picture.pixels) for picture in clip.taken]
    if read != [numbers[index] for index in nearest]:
        found.append(f"frames {read}, expected {[numbers[index] for index in nearest]}")
    if not np.allclose(clip.times, times[nearest], atol=0.002):
        found.append(f"times {clip.times}")
    if clip.num_frames != len(times) or abs(clip.duration - end) > 0.01:
        found.append(f"{clip.num_frames} frames, {clip.duration} s")
    if {(picture.width, picture.height) for picture in clip.taken} != {kind.shown}:
        found.append(f"size {clip.taken[0].width} x {clip.taken[0].height}")
    for colour, expected in zip(colours_of(clip.taken[-1].pixels), (LEFT, RIGHT), strict=True):
        if np.abs(colour.astype(int) - expected).max() > TOLERANCE.get(Path(kind.name).suffix, 12):
            found.append(f"colour {colour.tolist()}, expected {expected}")
    return found


def test_every_kind_of_clip_gives_the_frames_of_its_times(tmp_path):
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert f"{len(KINDS)} of {len(KINDS)} kinds" in DOCS.read_text(encoding="utf-8")
    found = {kind.name: faults(tmp_path, kind) for kind in KINDS}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("seed", range(2))
def test_the_frames_are_those_of_a_slow_decoding_of_everything(tmp_path, seed):
    """Random variable rates, group lengths and B-frames; the slow side decodes all and takes the nearest by time."""
    import av

    rng = np.random.default_rng(seed)
    for case in range(6):
        pts = tuple(np.cumsum(rng.integers(1, 9, rng.integers(1, 60))).tolist())
        options = {"preset": "ultrafast", "bf": str(rng.integers(0, 4)), "g": str(rng.integers(1, 30))}
        name = f"{case}.{('mp4', 'mkv', 'ts')[case % 3]}"
        file = write_clip(tmp_path / name, Kind(name, "libx264", options=options, pts=pts, rate=Fraction(30)))
        about = FramesParams(count=int(rng.integers(1, 20)), sampling="uniform", fps=1.0)
        clip = read_clip(file, about, float("inf"), lambda picture: picture.pixels)
        with av.open(str(file)) as container:
            frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        first = frames[0][0]
        middles = [clip.duration * (part + 0.5) / about.count for part in range(about.count)]
        times = [time - first for time, _ in frames]
        slow = [frames[index] for index in sorted({slow_nearest(times, middle) for middle in middles})]
        assert len(clip.taken) == len(slow)
        assert np.allclose(clip.times, [time - first for time, _ in slow])
        for ours, (_, theirs) in zip(clip.taken, slow, strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 2

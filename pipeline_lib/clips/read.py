"""Reads the chosen frames of a clip file: what every later module calls.

A clip that cannot be read to its end is refused with its reason, so that no model ever gets zero frames.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.clips.animation import is_webp, read_webp
from pipeline_lib.clips.container import decoder_of, open_clip
from pipeline_lib.clips.decode import decode_at, decode_by_number, decoded_times, measured_timeline
from pipeline_lib.clips.header import read_header
from pipeline_lib.clips.packets import Packets, Timeline, read_timeline
from pipeline_lib.clips.pixels import Converter, Picture, display_matrix, profile_notes
from pipeline_lib.clips.sampling import SAMPLERS, Indexes
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.transforms.decode import TOO_MANY_PIXELS, Note
from pipeline_lib.transforms.formats import BadPhotoError

Taken = TypeVar("Taken")
# Transfer characteristics of HDR: PQ and HLG.
HDR = (16, 18)
# PyAV must not look at what their frames hold beside pixels: see `header`.
PNG_DECODERS = ("apng", "png")


@dataclass(frozen=True)
class Clip(Generic[Taken]):
    """What was taken of each chosen frame of a clip, and its time in seconds from the first frame of the clip on.

    `num_frames` and `duration` (s) are those of the clip. A note is about a clip that is used nevertheless.
    """

    taken: list[Taken]
    times: list[float]
    num_frames: int
    duration: float
    notes: tuple[Note, ...] = ()


@cache
def converter() -> Converter:
    """Return the converter of this process."""
    return Converter()


def read_clip(
    file: Path,
    params: FramesParams,
    max_pixels: float,
    take: Callable[[Picture], Taken],
    convert_profile: bool = True,
) -> Clip[Taken]:
    """Return `take` of the frames of a clip that `params` choose, so that one frame at a time is in memory.

    Without `convert_profile` the colours of an embedded profile are taken as sRGB, as those of photos are.

    Raises BadPhotoError with the reason if the file has no video, is truncated or damaged, or if a frame has more than
    `max_pixels` pixels.
    """
    if is_webp(file):
        sampler = SAMPLERS[params.sampling]
        header = read_header(file, convert_profile)
        shown, seconds, indexes, end = read_webp(
            file, header, lambda times, end: sampler(times, end, params), max_pixels, take
        )
        notes = profile_notes(header.profile)
        return _noted(Clip(shown, seconds[indexes].tolist(), len(seconds), end), params, notes)
    import av

    try:
        return _read_video(file, params, max_pixels, take, convert_profile)
    except av.error.FFmpegError as error:
        raise BadPhotoError("unreadable clip", one_line(error)) from None


def _read_video(
    file: Path, params: FramesParams, max_pixels: float, take: Callable[[Picture], Taken], convert_profile: bool
) -> Clip[Taken]:
    header = read_header(file, convert_profile)
    with open_clip(file) as (container, stream):
        decoder = decoder_of(stream)
        _check_size(stream.codec_context.width, stream.codec_context.height, max_pixels)
        packets = Packets(file, container, stream)
        timeline = read_timeline(packets, stream)
        seen: set[Note] = set(profile_notes(header.profile))

        def taken(frame: Any) -> Taken:
            _check_size(frame.width, frame.height, max_pixels)
            seen.update(_frame_notes(frame))
            matrix = header.matrix if decoder.name in PNG_DECODERS else display_matrix(frame)
            picture = converter().picture(frame, pixel_aspect(stream, decoder), header.profile, matrix)
            _check_size(picture.width, picture.height, max_pixels)
            return take(picture)

        found: list[Taken] | None = None
        chosen = _chosen(timeline, params)
        if timeline.in_order:
            found = decode_by_number(packets, decoder, timeline, set(chosen.tolist()), taken)
        else:
            found = decode_at(packets, decoder, timeline, timeline.pts[chosen].tolist(), taken)
        if found is None:
            planned, timeline = timeline, measured_timeline(decoded_times(packets, decoder), timeline)
            seen.update(_lost_notes(planned, timeline))
            chosen = _chosen(timeline, params)
            found = decode_by_number(packets, decoder, timeline, set(chosen.tolist()), taken)
        assert found is not None, "the same packets gave another number of frames"
        times = timeline.seconds()[chosen].tolist()
        clip = Clip(found, times, len(timeline.pts), timeline.duration)
        return _noted(clip, params, tuple(sorted(seen)))


def pixel_aspect(stream: Any, decoder: Any) -> Fraction:
    """Return the width of a pixel by its height: that of the container, or of the video itself."""
    return Fraction(stream.sample_aspect_ratio or decoder.sample_aspect_ratio or 1)


def _chosen(timeline: Timeline, params: FramesParams) -> Indexes:
    return SAMPLERS[params.sampling](timeline.seconds(), timeline.duration, params)


def _noted(clip: Clip[Taken], params: FramesParams, notes: tuple[Note, ...]) -> Clip[Taken]:
    if len(clip.taken) < params.count:
        few = Note("fewer frames than frames.count", f"{len(clip.taken)} of {params.count}")
        notes = (few, *notes)
    return Clip(clip.taken, clip.times, clip.num_frames, clip.duration, notes)


def _lost_notes(planned: Timeline, timeline: Timeline) -> list[Note]:
    """Return a note if frames cannot be decoded; BadPhotoError if it is more than half of them."""
    lost, total = len(planned.pts) - len(timeline.pts), len(planned.pts)
    if planned.in_order or lost <= 0:
        return []
    about = f"{lost:,} of {total:,} frames cannot be decoded"
    if 2 * lost > total:
        raise BadPhotoError("damaged clip", about)
    return [Note("damaged clip", about)]


def _frame_notes(frame: Any) -> list[Note]:
    notes = []
    if frame.interlaced_frame:
        notes.append(Note("interlaced clip", "every second line is used"))
    if frame.color_trc in HDR:
        notes.append(Note("HDR clip", "its colours are not tone-mapped"))
    return notes


def _check_size(width: int, height: int, max_pixels: float) -> None:
    if width * height > max_pixels:
        raise BadPhotoError(TOO_MANY_PIXELS, f"{width} x {height}")

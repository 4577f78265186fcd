"""Decodes chosen frames of a clip in one pass.

Packets up to a later key frame are left out where the next chosen frame comes after it; seeking in the file instead
may land behind it. Frames that no other frame needs and that are not chosen are not decoded. If a chosen frame does
not come out, everything is decoded once, and the frames are chosen among those that there are.
"""

from collections.abc import Callable, Iterator, Set
from typing import Any, TypeVar

import numpy as np

from pipeline_lib.clips.packets import Packets, Timeline
from pipeline_lib.transforms.formats import BadPhotoError

# Decoders that leave out a frame which no other frame needs, packet by packet; dav1d takes the setting once.
SKIPPING = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})

Taken = TypeVar("Taken")
Take = Callable[[Any], Taken]


def decode_at(
    packets: Packets, decoder: Any, timeline: Timeline, wanted: list[int], take: Take[Taken]
) -> list[Taken] | None:
    """Return `take` of the frames at the ascending times `wanted`, units of the timeline; None if one is missing."""
    taken: dict[int, Taken] = {}
    missing = sorted(wanted, reverse=True)
    for frame in _frames(decoder, _needed(packets, decoder, timeline, missing)):
        if frame.pts in wanted and frame.pts not in taken and not frame.is_corrupt:
            taken[frame.pts] = take(frame)
            while missing and missing[-1] in taken:
                missing.pop()
            if not missing:
                return [taken[time] for time in wanted]
    return None


def decode_by_number(
    packets: Packets, decoder: Any, timeline: Timeline, numbers: Set[int], take: Take[Taken]
) -> list[Taken] | None:
    """Return `take` of the frames with these numbers in the order in which frames come out.

    None if there are more or fewer than the timeline has.
    """
    decoder.skip_frame = "DEFAULT"
    taken, count = [], 0
    for frame in _intact(decoder, packets):
        if count in numbers:
            taken.append(take(frame))
        count += 1
    return taken if count == len(timeline.pts) else None


def decoded_times(packets: Packets, decoder: Any) -> list[int | None]:
    """Return the time of every frame that can be decoded, in the order in which they come out."""
    decoder.skip_frame = "DEFAULT"
    return [frame.pts for frame in _intact(decoder, packets)]


def measured_timeline(times: list[int | None], planned: Timeline) -> Timeline:
    """Return the timeline of decoded frames; BadPhotoError if there is none, or the end of the planned one is missing.

    Without ascending times of their own the frames get the planned ones in order, or evenly if their number differs.
    """
    if not times:
        raise BadPhotoError("no frames", f"none of {len(planned.pts)} can be decoded")
    known = np.array([time for time in times if time is not None], np.int64)
    ascending = len(known) == len(times) and bool(np.all(np.diff(known) > 0))
    if ascending and not planned.in_order:
        gap = max(np.diff(planned.pts).max(initial=1), int(0.1 / planned.unit))
        if known[-1] + 2 * gap < planned.pts[-1]:
            reached = (known[-1] - planned.pts[0]) * planned.unit
            whole = planned.seconds()[-1]
            raise BadPhotoError("truncated clip", f"decoded up to {reached:.2f} s of {whole:.2f} s")
        pts = known
    elif len(times) == len(planned.pts):
        pts = planned.pts
    else:
        pts = np.linspace(planned.pts[0], max(planned.pts[-1], planned.pts[0] + len(times) - 1), len(times))
        pts = np.rint(pts).astype(np.int64)
    return Timeline(pts, max(planned.end, int(pts[-1])), planned.unit, [], in_order=True)


def _needed(packets: Packets, decoder: Any, timeline: Timeline, missing: list[int]) -> Iterator[Any]:
    """Yield the packets that the missing frames need, and set for each whether the decoder may leave it out.

    The caller removes the times that it has got; the earliest is the last one.
    """
    chosen, keys = set(missing), timeline.keys
    start, key, may_skip = -1, 0, decoder.name in SKIPPING
    for position, packet in enumerate(packets):
        while key < len(keys) and keys[key][1] <= missing[-1]:
            start, key = keys[key][0], key + 1
        if position < start:
            continue
        if position == start:
            decoder.flush_buffers()
        if may_skip:
            decoder.skip_frame = "DEFAULT" if packet.pts in chosen else "NONREF"
        yield packet


def _intact(decoder: Any, packets: Packets) -> Iterator[Any]:
    return (frame for frame in _frames(decoder, packets) if not frame.is_corrupt)


def _frames(decoder: Any, packets: Any) -> Iterator[Any]:
    """Yield the frames of packets; what a damaged packet does not give is missing."""
    import av

    decoder.flush_buffers()
    for packet in packets:
        try:
            frames = decoder.decode(packet)
        except av.error.InvalidDataError:
            continue
        yield from frames
    yield from decoder.decode(None)

"""The packets of a clip without decoding: the times at which it has frames, and where decoding may start.

The number of frames and the duration that a container declares are often wrong; the packets' own times are not.
Packets of a short clip stay in memory, those of a long one are read again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.clips.container import open_clip
from pipeline_lib.transforms.formats import BadPhotoError

STORED_BYTES = 16 << 20


@dataclass(frozen=True)
class Timeline:
    """When a clip has frames, in units of `unit` seconds: `pts` (frames,) ascends without repeats.

    `keys` lists position in the file and pts of the packets at which decoding may start. `in_order`: the times belong
    to the frames only by their order, because the container has no times of frames.
    """

    pts: NDArray[np.int64]
    end: int
    unit: float
    keys: list[tuple[int, int]]
    in_order: bool

    def seconds(self) -> NDArray[np.float64]:
        """Return the time of each frame from the first one on."""
        seconds: NDArray[np.float64] = (self.pts - self.pts[0]) * self.unit
        return seconds

    @property
    def duration(self) -> float:
        """The time from the first frame to the end of the last one, in seconds."""
        return float((self.end - int(self.pts[0])) * self.unit)


class Packets:
    """The packets of a clip's video stream, which can be read several times."""

    def __init__(self, file: Path, container: Any, stream: Any) -> None:
        self._file, self._container, self._stream = file, container, stream
        self._stored: list[Any] | None = []
        self._is_read = False

    def __iter__(self) -> Iterator[Any]:
        """Yield the packets with data in the order of the file; BadPhotoError if the file cannot be read to its end."""
        if self._is_read and self._stored is not None:
            yield from self._stored
            return
        stored: list[Any] = []
        size = 0
        for packet in self._read():
            size += packet.size
            if size <= STORED_BYTES:
                stored.append(packet)
            else:
                stored.clear()
            yield packet
        self._is_read, self._stored = True, stored if size <= STORED_BYTES else None

    def _read(self) -> Iterator[Any]:
        if not self._is_read:
            yield from _demuxed(self._container, self._stream)
            return
        # Seeking to the start of a transport stream lands behind it.
        with open_clip(self._file) as (container, stream):
            yield from _demuxed(container, stream)


def _demuxed(container: Any, stream: Any) -> Iterator[Any]:
    import av

    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.FFmpegError as error:
        raise BadPhotoError("truncated clip", f"reading stops: {error.strerror}") from None


def read_timeline(packets: Packets, stream: Any) -> Timeline:
    """Return the timeline of all packets; BadPhotoError if there is no frame."""
    times: dict[int, int] = {}
    keys: list[tuple[int, int]] = []
    first_key: int | None = None
    has_all, ascends = True, True
    latest: int | None = None
    for position, packet in enumerate(packets):
        time = packet.pts if packet.pts is not None else packet.dts
        has_all = has_all and packet.pts is not None
        if time is None:
            continue
        if packet.is_keyframe:  # even one that an edit list cuts away: others are decoded from it
            first_key = time if first_key is None else first_key
            keys.append((position, time))
        if packet.is_discard:
            continue
        ascends = ascends and (latest is None or time > latest)
        latest = time
        times[time] = packet.duration or 0
    if not times:
        raise BadPhotoError("no frames", "the video has no packet with a time")
    # What comes before the first key frame cannot be decoded.
    pts = sorted(time for time in times if first_key is None or time >= first_key)
    gaps = [after - before for before, after in pairwise(pts)]
    # The packets of frames that are coded out of order have the durations of their neighbours.
    last = times[pts[-1]] if ascends else 0
    end = pts[-1] + (last or int(median(gaps or [0])))
    _check_complete(stream, (end - pts[0]) * float(stream.time_base), max(gaps or [0]) * float(stream.time_base))
    in_order = not has_all or ("avi" in stream.container.format.name and bool(stream.codec_context.has_b_frames))
    return Timeline(np.array(pts, np.int64), end, float(stream.time_base), keys, in_order)


def _check_complete(stream: Any, duration: float, largest_gap: float) -> None:
    """Raise BadPhotoError if the packets end well before the duration that a container of this stream alone declares.

    With sound beside it the duration may be that of the sound.
    """
    container = stream.container
    if container.duration is None or len(container.streams) > 1:
        return
    declared = container.duration / 1e6
    if duration + max(2 * largest_gap, 0.1 * declared, 0.1) < declared:
        raise BadPhotoError("truncated clip", f"frames up to {duration:.2f} s of {declared:.2f} s")

"""Makes small clips with PyAV whose frames carry their number, so that a test sees which frames were read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
BITS = 6
# Colours of the upper half, left and right, far from grey so that a wrong matrix or range shows.
LEFT, RIGHT = (200, 60, 40), (40, 120, 200)
SOUND_RATE, SOUND_BLOCK = 48_000, 960
# The display matrix that turns a frame by a quarter to the right.
QUARTER_TURN = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]


@dataclass(frozen=True)
class Kind:
    """How a clip is encoded: `pts` are its times in units of 1 / rate, by default 0, 1, 2 ...

    `size` is that of the coded frames. `turned`: they lie on their side, and the display matrix puts them upright.
    `sound` is the encoder of a sound track beside the frames.
    """

    name: str
    codec: str
    size: tuple[int, int] = (64, 48)
    rate: Fraction = Fraction(25)
    pixels: str = "yuv420p"
    count: int = 20
    pts: tuple[int, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    sound: str = ""
    turned: bool = False

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as the clip is shown."""
        return self.size[::-1] if self.turned else self.size

    def times(self) -> tuple[int, ...]:
        """The times of all frames."""
        return self.pts or tuple(range(self.count))


def numbered(number: int, width: int, height: int) -> Pixels:
    """Return a frame (height, width, 3): two colours above, the bits of `number` in black and white below."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = LEFT
    frame[: height // 2, width // 2 :] = RIGHT
    for bit in range(BITS):
        left, right = (width * bit) // BITS, (width * (bit + 1)) // BITS
        frame[height // 2 :, left:right] = 255 * (number >> bit & 1)
    return frame


def number_of(frame: Pixels) -> int:
    """Return the number that a frame carries."""
    height, width, _ = frame.shape
    row = frame[height * 3 // 4].mean(axis=1)
    return sum(int(row[(width * (2 * bit + 1)) // (2 * BITS)] > 127) << bit for bit in range(BITS))


def colours_of(frame: Pixels) -> tuple[Pixels, Pixels]:
    """Return the colour of the upper half, left and right."""
    height, width, _ = frame.shape
    return frame[height // 4, width // 4], frame[height // 4, width * 3 // 4]


def write_clip(path: Path, kind: Kind, frames: Sequence[Pixels] | None = None) -> Path:
    """Write a clip; `frames` are (height, width, 3) or 4 with alpha, by default those of `numbered`."""
    times = kind.times()
    if frames is None:
        frames = [numbered(number, *kind.shown) for number in range(len(times))]
    with av.open(str(path), "w", options=kind.container) as container:
        stream = container.add_stream(kind.codec, rate=kind.rate, options=kind.options)
        (stream.width, stream.height), stream.pix_fmt = kind.size, kind.pixels
        stream.codec_context.time_base = 1 / kind.rate
        for name, value in kind.tags.items():
            setattr(stream if name == "sample_aspect_ratio" else stream.codec_context, name, value)
        if kind.turned:
            stream.set_display_matrix(QUARTER_TURN)
        sound = container.add_stream(kind.sound, rate=SOUND_RATE) if kind.sound else None
        if sound is not None:
            mux_sound(container, sound, float(max(times) / kind.rate) + 0.3)
        for pts, pixels in zip(times, frames, strict=True):
            container.mux(stream.encode(_frame(np.rot90(pixels) if kind.turned else pixels, pts, kind)))
        container.mux(stream.encode(None))
    return path


def mux_sound(container: Any, stream: Any, seconds: float) -> None:
    """Write a tone into a stream of a container."""
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE)
    for start in range(0, len(wave), SOUND_BLOCK):
        block = wave[start : start + SOUND_BLOCK].astype(np.float32)
        samples = av.AudioFrame.from_ndarray(np.stack([block, block]), "fltp", "stereo")
        samples.rate, samples.pts = SOUND_RATE, start
        container.mux(stream.encode(samples))
    container.mux(stream.encode(None))


def _frame(pixels: Pixels, pts: int, kind: Kind) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgba" if pixels.shape[2] == 4 else "rgb24")
    frame = frame.reformat(format=kind.pixels, interpolation="BICUBIC", dst_colorspace=kind.tags.get("colorspace"))
    frame.pts, frame.time_base = pts, 1 / kind.rate
    return frame


def slow_nearest(times: Sequence[float], target: float) -> int:
    """Return the frame nearest to a time, of two whose distances differ by a tenth of their gap the earlier."""
    for index in range(len(times) - 1):
        gap = times[index + 1] - times[index]
        if target - times[index] <= times[index + 1] - target + 0.1 * gap:
            return index
    return len(times) - 1

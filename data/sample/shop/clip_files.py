"""Encodes frames as a clip file in the format of its ending, and writes files that are no clips.

One thread and no random ids or dates: equal frames give equal bytes with one version of the libraries.
"""

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 6  # frames a second
GIF_COLOURS = 64
# Ending -> encoder and its options.
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "mp4": ("libx264", {"preset": "ultrafast", "crf": "18"}),
    # Below 0 the speed is fixed; above, libvpx follows the clock, and the bytes change with the load of the machine.
    "webm": ("libvpx", {"crf": "6", "b": "2M", "deadline": "realtime", "cpu-used": "-5"}),
    "avi": ("mpeg4", {"b": "4M", "g": "1"}),
}


def encode_clip(frames: Sequence[Image.Image], ending: str) -> bytes:
    """Return the clip of the frames at RATE frames a second; the ending is one of CODECS, or gif."""
    target = io.BytesIO()
    if ending == "gif":
        first, *rest = (frame.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for frame in frames)
        first.save(target, "GIF", save_all=True, append_images=rest, duration=1000 // RATE, loop=0)
        return target.getvalue()
    codec, options = CODECS[ending]
    with av.open(target, "w", format=ending, container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, RATE, options={**options, "flags": "+bitexact"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame.convert("RGB")), format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def encode_sound(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """Return an mp4 file with a tone and without any picture."""
    target = io.BytesIO()
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    with av.open(target, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("aac", rate, options={"flags": "+bitexact"}, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


# What is wrong with a file -> its bytes, of the bytes of a whole clip.
FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda clip: clip[: len(clip) * 3 // 5],
    "sound": lambda clip: encode_sound(),
    "empty": lambda clip: b"",
    "page": lambda clip: b"<html><body>404 Not Found</body></html>\n",
}


def write_clip(path: Path, frames: Sequence[Image.Image], fault: str | None = None) -> None:
    """Write the clip of the frames in the format of the path's ending, or a file with one of FAULTS."""
    clip = encode_clip(frames, path.suffix[1:])
    path.write_bytes(clip if fault is None else FAULTS[fault](clip))

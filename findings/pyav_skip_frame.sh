#!/usr/bin/env bash
# PyAV 18.1.0: `skip_frame` obeys when it is set between packets for H.264, and is ignored without a word for AV1.
#
# Expected: to read a few frames of a clip one sets `codec_context.skip_frame` to NONREF for the packets that one does
#           not want and to DEFAULT for the others. What a decoder cannot skip it decodes, so every wanted frame comes.
#           `av.open` reads the header; frames are decoded when one asks for them.
# Happens:  H.264 gives every wanted frame. AV1 is decoded by dav1d, which reads the setting once, with the first
#           packet: if the first frame is not wanted, frames that are wanted later never come, and nothing raises.
#           `av.open` decodes frames, to guess what the header does not say: for an mp4 of 1280 x 720 in H.264 that is
#           most of the time of opening. With options={"skip_frame": "all"} it is not done. The stream then says the
#           same but for pix_fmt, and the option does not reach the decoder: all frames come.
# Versions: av 18.1.0 (FFmpeg 8.1.2), Python 3.11.7
# Date:     2026-11-29
# Matters for: reading a few frames of many clips (pipeline_lib/clips/decode.py, container.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import time

import av
import numpy as np

WANTED = range(2, 48, 5)


def write(path, codec, options, size, count=48):
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, 24, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            moved = np.ascontiguousarray(np.roll(picture, 4 * number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())


def wanted_frames(path):
    """The wanted frames that come if the packets between them are decoded with NONREF."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        packets = list(container.demux(stream))
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
        chosen = {times[number] for number in WANTED}
        decoder, found = stream.codec_context, set()
        for packet in packets:
            decoder.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in chosen else "NONREF"
            found |= {frame.pts for frame in decoder.decode(packet)}
        return decoder.codec.name, len(found & chosen)


def opening(path, options):
    """CPU milliseconds of opening, at least of 9; what the stream says; how many frames come."""
    best = np.inf
    for _ in range(9):
        start = time.process_time()
        with av.open(path, options=options) as container:
            stream = container.streams.video[0]
            best = min(best, time.process_time() - start)
            says = (stream.width, stream.height, str(stream.average_rate), stream.duration)
            count = sum(1 for _ in container.decode(stream))
    return 1000 * best, says, count


folder = sys.argv[1]
h264, av1, large = f"{folder}/h264.mp4", f"{folder}/av1.mp4", f"{folder}/large.mp4"
write(h264, "libx264", {"preset": "medium"}, (320, 240))
write(av1, "libsvtav1", {"preset": "8"}, (320, 240))
write(large, "libx264", {"preset": "medium"}, (1280, 720), 24)
print(f"av {av.__version__}, FFmpeg {av.ffmpeg_version_info}, Python {sys.version.split()[0]}")
(name, came), (other, fewer) = wanted_frames(h264), wanted_frames(av1)
print(f"{name}: {came} of {len(WANTED)} wanted frames; {other}: {fewer} of {len(WANTED)}")
plain, skipping = opening(large, {}), opening(large, {"skip_frame": "all"})
print(f"open 1280 x 720: {plain[0]:.1f} ms of CPU, {plain[1:]}")
print(f"with skip_frame=all: {skipping[0]:.1f} ms of CPU, {skipping[1:]}")
if came != len(WANTED) or fewer == len(WANTED) or plain[0] < 4 * skipping[0] or plain[1:] != skipping[1:]:
    sys.exit("the behaviour has changed")
PYTHON

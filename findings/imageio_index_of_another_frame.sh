#!/usr/bin/env bash
# imageio 2.38.1: imread(clip, index=k, plugin="pyav") returns another frame: of a phone's clip 26 % are right, and some
#             are a second off.
#
# Expected: "index=5 reads the 5th frame", says the docstring: the frame that imiter gives at that place, at the cost of
#           decoding from a key frame on. (A note says that B-frames may be a problem, for lack of test clips.)
# Happens:  the place is computed from the time of the key frame before it and one rate for the whole clip, and it is
#           not looked at again. Phones take fewer pictures a second where it is dim, so in their mp4s all later frames
#           are others, below by up to 1,000 ms. Clips of constant rate are wrong, too: an mp4 in fragments, as of a
#           stream, by two frames, because with B-frames its times start later, and an mkv by one frame, because its
#           times are whole milliseconds. Nothing is raised. An ordinary mp4 with 30 pictures a second, as in a trial,
#           is right in all, and imiter is right for every clip. Whoever has frame numbers of labels, shots or captions
#           trains on pictures of other moments.
# Do:       constant_framerate=False, which is right in all and decodes from the start; imiter where many frames are
#           wanted. decord2 3.4.0 was right for clips like these.
# Versions: imageio 2.38.1, av 18.1.0 (FFmpeg 8.1.2), numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: frames of clips that are taken by number outside; ours are taken by their times
#           (pipeline_lib/clips/decode.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check imageio==2.38.1 av==18.1.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction
from importlib.metadata import version

import av
import imageio.v3 as iio
import numpy as np

names = ("imageio", "av", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
FRAMES, BITS, WIDTH, READ = 600, 10, 16, 100
TICKS = Fraction(1, 90_000)
STEADY = [Fraction(number, 30) for number in range(FRAMES)]
# A phone takes 24 pictures a second where it is dim: here from the fifth to the tenth second.
PHONE = [time for time in STEADY if time < 5] + [5 + Fraction(number, 24) for number in range(120)]
PHONE += [time for time in STEADY if time >= 10]


def write(path, times, options=None):
    """Write a clip of H.264 whose pictures show their own number, as black and white bars."""
    with av.open(path, "w", options=options or {}) as clip:
        stream = clip.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.options = BITS * WIDTH, 64, "yuv420p", {"g": "60"}
        stream.codec_context.time_base = TICKS
        for number, time in enumerate(times):
            bars = np.array([255 * (number >> bit & 1) for bit in range(BITS)], np.uint8).repeat(WIDTH)
            frame = av.VideoFrame.from_ndarray(np.broadcast_to(bars[:, None], (64, len(bars), 3)).copy(), "rgb24")
            frame.pts, frame.time_base = int(time / TICKS), TICKS
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))


def shown(frame):
    """Return the number that a frame shows."""
    bars = frame.mean((0, 2)).reshape(BITS, WIDTH)[:, 4:-4].mean(1)
    return sum(1 << bit for bit in range(BITS) if bars[bit] > 128)


def tried(name, path, times, options=None):
    """Print and return the share of right frames by index, by default and with constant_framerate=False."""
    write(path, times, options)
    every = [shown(frame) for frame in iio.imiter(path, plugin="pyav")]
    assert every == list(range(len(times))), "imiter does not return all frames in order"
    wanted = np.sort(np.random.default_rng(0).choice(len(times), READ, replace=False))
    found = np.array([shown(iio.imread(path, index=int(index), plugin="pyav")) for index in wanted])
    far = float(max(abs(times[there] - times[index]) for there, index in zip(found, wanted, strict=True)))
    with iio.imopen(path, "r", plugin="pyav") as clip:
        slow = np.array([shown(clip.read(index=int(index), constant_framerate=False)) for index in wanted])
    right, sure = float(np.mean(found == wanted)), float(np.mean(slow == wanted))
    print(
        f"{name}: by imiter all are right, by index {100 * right:.0f} %, others are up to {far * 1000:.0f} ms off;"
        f" with constant_framerate=False {100 * sure:.0f} % are right"
    )
    return right, sure


fragments = {"movflags": "frag_keyframe+empty_moov"}
shares = [
    tried("mp4, 30 a second", "steady.mp4", STEADY),
    tried("mp4 of a phone, 24 a second for 5 s", "phone.mp4", PHONE),
    tried("mp4 in fragments", "fragments.mp4", STEADY, fragments),
    tried("mkv", "steady.mkv", STEADY),
    tried("mkv of a phone", "phone.mkv", PHONE),
]
if shares[0] != (1, 1) or max(right for right, _ in shares[1:]) > 0.8 or min(sure for _, sure in shares) < 1:
    sys.exit("the behaviour has changed")
PYTHON

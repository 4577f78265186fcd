#!/usr/bin/env bash
# FFmpeg 9.0.2: `-vf fps=1/4` writes no frame of a clip of less than two seconds and exits with 0, and frame k of a
#             longer one is not the picture at 4 k seconds but the one two seconds later: .53 of them are in another
#             shot.
#
# Expected: one picture every four seconds, from the first one on, so every clip has one, and frame k is what is seen
#           at 4 k seconds, as if it were decoded at this time.
# Happens:  times are rounded to the nearest multiple of four seconds, and of all pictures with one rounded time the
#           last one is written: those at 1.96, 5.96, 9.96 s. The end of the clip is rounded too, so one that ends
#           before 2 s has none. With `-v error`, as in a loop over a folder, nothing is printed; else there is the
#           line "Output file is empty" among the others. So the short clips of a catalogue vanish, below 4 of the 20
#           lengths from .4 to 8 s, and captions, shots or moments with times are paired with pictures of half an
#           interval later: of films with shots of 1 to 6 s .53 are of another shot. At fps=1 it is half a second, and
#           clips of less than that are lost. The documentation says that the default of `round` is near, not what
#           that does to the pictures. `-r 1/4` writes the pictures at 0, .04, 3.56, 7.56 s, so frame k is off by one
#           and by .44 s.
# Do:       fps=1/4:round=up, which writes the pictures at 0, 4, 8 s and at least one of each clip.
# Versions: imageio-ffmpeg 0.8.1 (FFmpeg 9.0.2), numpy 2.4.6, Python 3.11.7
# Date:     2026-12-01
# Matters for: frames that are made from clips outside; ours are decoded at times of their own
#           (pipeline_lib/clips/sampling.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import imageio_ffmpeg
import numpy as np

FFMPEG, RATE, BITS, SIDE, EVERY = imageio_ffmpeg.get_ffmpeg_exe(), 25, 12, 16, 4
names = ("imageio-ffmpeg", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names), end=", ")
print(f"FFmpeg {imageio_ffmpeg.get_ffmpeg_version()}, Python {sys.version.split()[0]}")


def written(length):
    """Write a clip of `length` seconds whose pictures show their numbers as black and white fields."""
    numbers = np.arange(round(length * RATE))[:, None] >> np.arange(BITS) & 1
    pictures = np.repeat(np.repeat(numbers[:, None] * np.uint8(255), SIDE, 1), SIDE, 2).astype(np.uint8)
    path = f"clip{len(numbers)}.mp4"
    source = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{BITS * SIDE}x{SIDE}", "-r", str(RATE), "-i", "-"]
    command = [FFMPEG, "-y", "-v", "error", *source, "-c:v", "libx264", "-pix_fmt", "yuv420p", path]
    subprocess.run(command, input=pictures.tobytes(), check=True)
    return path


def seconds_of(path, *options):
    """Return the times of the pictures that FFmpeg writes to numbered files, and what it prints."""
    for old in Path().glob("frame*.gray"):
        old.unlink()
    target = ["-pix_fmt", "gray", "-c:v", "rawvideo", "-f", "image2", "frame%03d.gray"]
    done = subprocess.run([FFMPEG, "-v", "error", "-i", path, *options, *target], capture_output=True, check=True)
    pictures = [np.frombuffer(file.read_bytes(), np.uint8) for file in sorted(Path().glob("frame*.gray"))]
    fields = [picture.reshape(SIDE, BITS, SIDE)[SIDE // 2, :, SIDE // 2] > 127 for picture in pictures]
    return [float(bits @ (1 << np.arange(BITS))) / RATE for bits in fields], done.stderr.decode()


long, lengths = written(120), np.arange(1, 21) * 0.4
clips = [written(length) for length in lengths]
draws, result = np.random.default_rng(0), {}
cuts = np.cumsum(draws.uniform(1, 6, (200, 120)), 1)  # of 200 films of 120 s with shots of 1 to 6 s
for options in (["-vf", "fps=1"], ["-r", "1/4"], ["-vf", "fps=1/4"], ["-vf", "fps=1/4:round=up"]):
    seconds, _ = seconds_of(long, *options)
    found = [seconds_of(clip, *options) for clip in clips]
    without = [round(float(length), 1) for length, (times, _) in zip(lengths, found, strict=True) if not times]
    line = f"{' '.join(options)}: {seconds[:5]} s of 120 s, clips without a frame {without} s"
    line += f", printed {sorted({text for _, text in found})}"
    if "1/4" in options[1]:
        wanted = EVERY * np.arange(len(seconds))
        shots = [[np.searchsorted(film, times, side="right") for times in (wanted, seconds)] for film in cuts]
        other = float(np.mean([meant != seen for meant, seen in shots]))
        result[options[1]] = other, len(without)
        line += f", in another shot {other:.3f}"
    print(line)
if result["fps=1/4"][0] < 0.3 or result["fps=1/4"][1] < 3 or result["fps=1/4:round=up"] != (0.0, 0):
    sys.exit("the behaviour has changed")
PYTHON

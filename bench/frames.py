"""Clips per second of 12 even frames, against the loops that most code has: OpenCV's and decord2's.

    python bench/frames.py [--quick]

Clips of a camera that pans over a photo, H.264 as x264 writes it by default, of two lengths and sizes. All sides use
two worker processes and give RGB pixels of the full size; ours are also checked against FFmpeg's own conversion of the
same frames. OpenCV's loop seeks to each frame; decoding every frame and choosing is measured beside it. The memory is
the peak of one process that reads a clip of 10 minutes. Where other
processes run, the CPU time is the fairer figure: a peer with more threads gets a larger share of the cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import av
import numpy as np
from inputs import photo
from results import Ratio, interleaved, report

from pipeline_lib.clips.read import read_clip
from pipeline_lib.execution.parallel import map_parallel
from pipeline_lib.params.frames import FramesParams

PARAMS = FramesParams(count=12, sampling="uniform", fps=1.0)
WORKERS, FPS, NUM_CLIPS = 2, 30, 2
SIZES, SECONDS = ((320, 240), (1280, 720)), (3, 10)
PEER = Path(sys.prefix) / "clip-peers" / "bin" / "python"
LOOPS = {"opencv_seek": "OpenCV, a seek each", "opencv_read": "OpenCV, every frame", "decord": "decord2"}
REPEATS = 60
MEMORY_LIMIT_MB, MAX_LEVELS = 400, 2
MEMORY = """
import sys
from pathlib import Path
from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams
sys.path.insert(0, "bench")
from results import peak_bytes
params = FramesParams(count=12, sampling="uniform", fps=1.0)
clip = read_clip(Path(sys.argv[1]), params, 1e9, lambda picture: picture.width)
print(clip.duration, peak_bytes() / 1e6)
"""


def write_clip(path: Path, size: tuple[int, int], seconds: int, seed: int, fps: int = FPS) -> None:
    """Write a camera's pan over a photo."""
    width, height = size
    scene = np.asarray(photo(seed, width + width // 2, height + height // 4))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if height >= 720:
            stream.codec_context.colorspace = 1  # BT.709, as cameras tag it
        for number in range(seconds * fps):
            left = (number * 2) % (width // 2)
            top = (number // 2) % (height // 4)
            view = np.ascontiguousarray(scene[top : top + height, left : left + width])
            frame = av.VideoFrame.from_ndarray(view, "rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=1 if height >= 720 else 5)))
        container.mux(stream.encode(None))


def repeated(source: Path, times: int, out: Path) -> None:
    """Write a clip's packets several times, one run after another."""
    with av.open(str(source)) as clip, av.open(str(out), "w") as container:
        stream = clip.streams.video[0]
        packets = [packet for packet in clip.demux(stream) if packet.size]
        length = len(packets) * int(1 / stream.average_rate / stream.time_base)
        target = container.add_stream_from_template(stream)
        for run in range(times):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts + run * length, packet.dts + run * length
                copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, target
                container.mux(copy)


def pixels_of(file: Path) -> list[np.ndarray]:
    return read_clip(file, PARAMS, float("inf"), lambda picture: picture.pixels).taken


def read(file: Path) -> tuple[int, float]:
    """Return the number of frames, and the seconds of CPU."""
    start = time.process_time()
    number = len(pixels_of(file))
    return number, time.process_time() - start


def largest_difference(file: Path) -> int:
    """Return the largest difference in levels from FFmpeg's own conversion to rgb24 of the frames at the same times."""
    clip = read_clip(file, PARAMS, float("inf"), lambda picture: picture.pixels)
    ours = {round(time, 6): pixels for time, pixels in zip(clip.times, clip.taken, strict=True)}
    largest = 0
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            if (pixels := ours.pop(round(frame.time, 6), None)) is not None:
                theirs = frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
                largest = max(largest, int(np.abs(pixels.astype(int) - theirs).max()))
    assert not ours, "a frame of ours is none of the clip's"
    return largest


class Peer:
    """A process that reads clips with one of the loops whenever it gets a line."""

    def __init__(self, loop: str, files: list[Path]) -> None:
        command = [str(PEER), str(Path(__file__).with_name("frames_peers.py")), loop, *map(str, files)]
        self._files = files
        self.cpu: list[float] = []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def speed(self) -> float:
        """Return clips/s; it must read every frame."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        result = json.loads(self._process.stdout.readline())
        assert result["frames"] == [PARAMS.count] * len(self._files), result
        self.cpu.append(1e3 * result["cpu"] / len(self._files))
        return len(self._files) / result["seconds"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def our_speed(files: list[Path], used: list[float]) -> float:
    """Return clips/s of two workers, and add the ms of CPU of a clip to `used`."""
    start = time.perf_counter()
    numbers, cpu = zip(*map_parallel(read, files, WORKERS), strict=True)
    assert list(numbers) == [PARAMS.count] * len(files)
    used.append(1e3 * sum(cpu) / len(files))
    return len(files) / (time.perf_counter() - start)


def compare(files: list[Path], what: str, repetitions: int) -> list[Ratio]:
    """Return a row for each loop of the peers."""
    peers = [Peer(loop, files) for loop in LOOPS]
    our_speed(files, [])  # starts the workers
    used: list[float] = []
    for peer in peers:
        peer.speed()
    sides: list[Callable[[], float]] = [partial(our_speed, files, used), *(peer.speed for peer in peers)]
    ours, *theirs = interleaved(repetitions, *sides)
    for peer in peers:
        peer.close()
    ratios = []
    for (loop, name), peer, values in zip(LOOPS.items(), peers, theirs, strict=True):
        goal = "-" if loop == "opencv_read" else ">= 2"
        ratios.append(Ratio(f"{what}: {name}", "clips/s", ours, values, goal))
        cpu = peer.cpu[-repetitions:]
        ratios.append(Ratio(f"{what}: {name}", "ms of CPU a clip", used, cpu, goal, lower_is_better=True))
    return ratios


def memory(folder: Path, source: Path) -> tuple[float, float]:
    """Return duration in s and peak memory in MB of a process that reads a clip of 10 minutes."""
    long = folder / "long.mp4"
    repeated(source, 600 // SECONDS[-1], long)
    run = subprocess.run([sys.executable, "-c", MEMORY, str(long)], capture_output=True, text=True, check=True)
    duration, peak = map(float, run.stdout.split())
    assert duration > 599, duration
    return duration, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    repetitions = 2 if quick else 3
    ratios, largest = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for size, seconds in product(SIZES, SECONDS):
            what = f"{seconds} s of {size[0]} x {size[1]}"
            files = [Path(folder) / f"{size[0]}-{seconds}-{number}.mp4" for number in range(NUM_CLIPS)]
            for seed, file in enumerate(files):
                write_clip(file, size, seconds, seed)
            largest = max(largest, largest_difference(files[0]))
            # A measurement takes at least a second, so that the handing out of tasks does not count.
            ratios += compare(files * max(1, REPEATS // (size[0] // 320 * seconds)), what, repetitions)
        duration, peak = memory(Path(folder), files[0])
    assert largest <= MAX_LEVELS and peak < MEMORY_LIMIT_MB, (largest, peak)
    about = (
        f"{PARAMS.count} frames, {WORKERS} worker processes, {NUM_CLIPS} different clips at {FPS} frames/s. Largest "
        f"difference from FFmpeg's own conversion: {largest} levels. A process that reads {duration / 60:.0f} minutes "
        f"of {SIZES[-1][0]} x {SIZES[-1][1]} has a peak of {peak:.0f} MB."
    )
    report("Frames of clips", about, ratios, quick)


if __name__ == "__main__":
    main()

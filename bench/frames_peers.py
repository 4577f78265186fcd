"""Reads 12 even frames of clips with the loop that most code has; bench/frames.py starts it in the peers' environment.

    python bench/frames_peers.py LOOP FILES...

For each line on stdin it prints `{"seconds": ..., "cpu": ..., "frames": [...]}`. LOOP is opencv_seek (set the
position, read), opencv_read (read every frame, then choose) or decord.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

COUNT, WORKERS = 12, 2


def opencv_seek(file: str) -> Any:
    import cv2

    clip = cv2.VideoCapture(file)
    frames = []
    for number in np.linspace(0, int(clip.get(cv2.CAP_PROP_FRAME_COUNT)) - 1, COUNT).astype(int):
        clip.set(cv2.CAP_PROP_POS_FRAMES, int(number))
        _, frame = clip.read()
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    clip.release()
    return np.stack(frames)


def opencv_read(file: str) -> Any:
    import cv2

    clip = cv2.VideoCapture(file)
    frames = []
    while True:
        is_read, frame = clip.read()
        if not is_read:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    clip.release()
    return np.stack([frames[number] for number in np.linspace(0, len(frames) - 1, COUNT).astype(int)])


def decord(file: str) -> Any:
    from decord import VideoReader, cpu

    clip = VideoReader(file, ctx=cpu(0))
    return clip.get_batch(np.linspace(0, len(clip) - 1, COUNT).astype(int)).asnumpy()


LOOPS: dict[str, Callable[[str], Any]] = {"opencv_seek": opencv_seek, "opencv_read": opencv_read, "decord": decord}


def read(job: tuple[str, str]) -> tuple[int, float]:
    """Return the number of frames, and the seconds of CPU of all threads."""
    start = time.process_time()
    number = len(LOOPS[job[0]](job[1]))
    return number, time.process_time() - start


def main() -> None:
    loop, *files = sys.argv[1:]
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        jobs = [(loop, file) for file in files]
        pool.map(read, jobs[:WORKERS], chunksize=1)  # imports
        for _ in sys.stdin:
            start = time.perf_counter()
            numbers, cpu = zip(*pool.map(read, jobs, chunksize=1), strict=True)
            result = {"seconds": time.perf_counter() - start, "cpu": sum(cpu), "frames": numbers}
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

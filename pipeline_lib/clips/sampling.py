"""Which frames of a clip are read, by their times alone: a clip may have a variable frame rate.

Each sampler returns the indexes of different frames in order, at most `count`, so a clip with fewer frames gives all of
them that the sampler meets and none twice.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.params.frames import FramesParams, Sampling

# Two frames are about as near if their distances differ by at most this share of the time between them.
ABOUT_EQUAL = 0.1

Times = NDArray[np.float64]
Indexes = NDArray[np.int64]


def nearest(times: Times, targets: Times) -> Indexes:
    """Return the index of the frame whose time is nearest to each target; `times` ascend.

    Of two that are about as near it is the earlier, so that times in whole milliseconds change nothing: a clip of 12
    frames, whose times are all halfway, gives all 12.

    >>> nearest(np.array([0.0, 1.0, 4.0]), np.array([0.4, 0.5, 2.9, 9.0])).tolist()
    [0, 0, 2, 2]
    """
    after = np.searchsorted(times, targets).clip(1, max(1, len(times) - 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    nearer = targets - times[before] <= times[after] - targets + ABOUT_EQUAL * (times[after] - times[before])
    return np.where(nearer, before, after).astype(np.int64)


def middles(start: float, end: float, count: int) -> Times:
    """Return the middle of each of `count` equal parts of an interval.

    >>> middles(0, 8, 4).tolist()
    [1.0, 3.0, 5.0, 7.0]
    """
    return start + (np.arange(count, dtype=np.float64) + 0.5) * ((end - start) / count)


def uniform(times: Times, end: float, params: FramesParams) -> Indexes:
    """Return the frames nearest to the middles of `count` equal parts of the clip."""
    return np.unique(nearest(times, middles(float(times[0]), end, params.count)))


def head(times: Times, end: float, params: FramesParams) -> Indexes:
    """Return the first `count` frames."""
    return np.arange(min(params.count, len(times)), dtype=np.int64)


def per_second(times: Times, end: float, params: FramesParams) -> Indexes:
    """Return `count` frames evenly of those that a reading at `fps` frames a second, from the first one on, meets."""
    steps = max(1, int(np.ceil((end - float(times[0])) * params.fps - 1e-9)))
    if steps <= 50 * len(times):
        met = np.unique(nearest(times, times[0] + np.arange(steps) / params.fps))
    else:  # a gap of hours between two frames
        met = np.arange(len(times), dtype=np.int64)
    if len(met) <= params.count:
        return met
    return met[np.floor(middles(0, len(met), params.count)).astype(np.int64)]


# frames.sampling -> function(times (frames,) s ascending, end of the clip s, params) -> indexes (at most count,)
SAMPLERS: dict[Sampling, Callable[[Times, float, FramesParams], Indexes]] = {
    "uniform": uniform,
    "head": head,
    "fps": per_second,
}

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made_clips import slow_nearest

from pipeline_lib.clips.sampling import SAMPLERS
from pipeline_lib.params.frames import FramesParams, Sampling

GAPS = st.lists(st.integers(1, 40), min_size=0, max_size=40)


def params(count: int, sampling: str = "uniform", fps: float = 1.0) -> FramesParams:
    return FramesParams(count=count, sampling=sampling, fps=fps)


def chosen(times: list[float], end: float, about: FramesParams) -> list[int]:
    return SAMPLERS[about.sampling](np.array(times, np.float64), end, about).tolist()


def test_the_names_are_those_that_params_allow():
    assert set(SAMPLERS) == set(Sampling.__args__)


@pytest.mark.parametrize(
    ("times", "end", "about", "expected"),
    [
        # Parts of 2 s, middles 1, 3, 5, 7.
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, params(4), [1, 3, 5, 7]),
        # A tie goes to the earlier frame; middles 0.5, 1.5, 2.5, 3.5.
        ([0, 1, 2, 3], 4, params(4), [0, 1, 2, 3]),
        # Two frames in 10 s and nine in one: times decide, not counts.
        ([0, 5, 10, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 10.7, 10.8], 11, params(3), [0, 1, 2]),
        ([0, 1], 2, params(12), [0, 1]),
        ([0], 0, params(12), [0]),
        ([0, 1, 2, 3], 4, params(2, "head"), [0, 1]),
        ([0, 1, 2, 3], 4, params(9, "head"), [0, 1, 2, 3]),
        # One frame a second is 0, 2, 4, ... of 2 frames a second; 3 of these 6 are in the middle of thirds.
        ([number / 2 for number in range(12)], 6, params(3, "fps"), [2, 6, 10]),
        ([number / 2 for number in range(12)], 6, params(12, "fps"), [0, 2, 4, 6, 8, 10]),
        ([0, 100_000], 100_001, params(2, "fps"), [0, 1]),
    ],
)
def test_hand_worked(times, end, about, expected):
    assert chosen(times, end, about) == expected


@given(GAPS, st.integers(1, 40), st.integers(1, 20))
def test_uniform_is_the_nearest_frame_to_the_middle_of_each_part(gaps, last, count):
    times = np.cumsum([0, *gaps]).tolist()
    end = times[-1] + last
    slow = []
    for part in range(count):
        middle = end * (part + 0.5) / count
        # Rounding decides at the limit of the tolerance itself: 0.55 of the gap between two frames.
        assume(all(abs(middle - before - 0.55 * (after - before)) > 1e-9 for before, after in pairwise(times)))
        if slow_nearest(times, middle) not in slow:
            slow.append(slow_nearest(times, middle))
    assert chosen(times, end, params(count)) == slow


@pytest.mark.parametrize("count", [1, 2, 3, 12, 50])
@pytest.mark.parametrize("rate", [12, 23.976, 25, 29.97, 60])
def test_a_clip_with_as_many_frames_as_asked_gives_all_whatever_the_rounding_of_times(count, rate):
    for rounded in (float, lambda time: round(time, 3), lambda time: round(time * 15360) / 15360):
        times = [rounded(number / rate) for number in range(count)]
        assert chosen(times, rounded(count / rate), params(count)) == list(range(count))


@given(GAPS, st.integers(1, 20), st.sampled_from(list(SAMPLERS)), st.floats(0.01, 50))
def test_every_sampler_gives_different_frames_in_order_and_at_least_one(gaps, count, sampling, fps):
    times = np.cumsum([0, *gaps]).tolist()
    found = chosen(times, times[-1] + 1, params(count, sampling, fps))
    assert 1 <= len(found) <= count
    assert found == sorted(set(found)) and found[-1] < len(times)

"""Coverage of the intervals and false-positive rates of the tests on simulated grouped rankings (slow: minutes).

The simulation is that of bench/comparison.py: two runs, or two settings, that do not differ. docs/comparing.md claims
what is asserted here, and names what is not within POINTS of nominal.
"""

import pytest

from bench.comparison import FIGURES, STRUCTURES, checkpoints, rates, settings, slices

SAMPLES = 2000
POINTS = 1.5
NOISE = 0.5  # a standard error of 2,000 samples
HITS = ("test of R@1", "test of R@5", "test of R@10", "test of median_rank")
SMOOTH = ("test of MeanRecall", "test of mean_rank", "any of 6, adjusted")


def of(found, begin):
    return {name: rate for name, rate in found.items() if name.startswith(begin)}


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_intervals_and_tests_of_checkpoints_are_nominal_within_1_5_points(structure):
    found = rates(checkpoints, SAMPLES, 200, 200, structure)
    intervals = of(found, "interval")
    # Ranks are whole numbers, and the two medians are added as if they were independent.
    assert intervals.pop("interval of median_rank") >= 95 - POINTS
    assert intervals == pytest.approx({f"interval of {name}": 95 for name in FIGURES}, abs=POINTS)
    assert {name: found[name] for name in SMOOTH} == pytest.approx(dict.fromkeys(SMOOTH, 5), abs=POINTS)
    # Hits are whole numbers, so that these tests reject somewhat less often than in 5 %.
    assert all(5 - POINTS - NOISE <= found[name] <= 5 + POINTS for name in HITS)


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_of_60_queries_intervals_cover_at_least_and_tests_err_at_most_as_stated(structure):
    found = rates(checkpoints, SAMPLES, 60, 60, structure)
    intervals = of(found, "interval")
    assert min(intervals.values()) >= 95 - POINTS
    assert max(rate for name, rate in found.items() if name not in intervals) <= 5 + POINTS


@pytest.mark.slow
@pytest.mark.parametrize("queries", [60, 200])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_slices_cover_at_least_and_err_at_most_as_stated(structure, queries):
    found = rates(slices, SAMPLES, queries, queries, structure)
    assert found["interval of a slice"] >= 95 - POINTS
    assert found["test of a slice alone"] <= 5 + POINTS
    assert 5 - POINTS <= found["any slice, adjusted"] <= 5 + POINTS or queries == 60
    assert found["any slice, adjusted"] <= 5 + POINTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "deviation", "paired"), [(3, 0.0, False), (3, 0.4, True), (5, 0.1, False), (5, 0.4, False)]
)
def test_intervals_of_settings_cover_at_least_nominally(seeds, deviation, paired):
    found = rates(settings, SAMPLES // 2, seeds, 200, seeds, deviation, paired)
    intervals = of(found, "interval")
    assert min(intervals.values()) >= 95 - POINTS
    # Too wide where seeds hardly vary, and always for ranks.
    assert max(found["interval of R@1"], found["interval of MeanRecall"]) <= 95 + POINTS * (2 if deviation == 0 else 1)
    assert found["interval of mean_rank"] <= 99
    assert found["any of 6, adjusted by Holm"] <= 5 + POINTS

"""Coverage of the intervals and false-positive rates of the tests on simulated grouped rankings (slow: minutes).

The simulation is that of bench/comparison.py: two runs, or two settings, that do not differ.
"""

import pytest

from bench.comparison import FIGURES, STRUCTURES, checkpoints, rates, settings

SAMPLES, QUERIES = 1000, 200
POINTS = 1.5


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_intervals_and_tests_of_checkpoints_are_nominal_within_1_5_points(structure):
    found = rates(checkpoints, SAMPLES, QUERIES, QUERIES, structure)
    assert {name: found[f"interval of {name}"] for name in FIGURES} == pytest.approx(
        dict.fromkeys(FIGURES, 95), abs=POINTS
    )
    tests = {name: rate for name, rate in found.items() if not name.startswith("interval")}
    assert max(tests.values()) <= 5 + POINTS
    # Hits are whole numbers, so that the tests of single cut-offs reject somewhat less often than in 5 %.
    smooth = ("test of MeanRecall", "test of mean_rank", "any of 6, adjusted")
    assert min(tests[name] for name in smooth) >= 5 - POINTS and min(tests.values()) >= 2.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "deviation", "paired"), [(3, 0.0, False), (3, 0.4, True), (5, 0.1, False), (5, 0.4, False)]
)
def test_intervals_of_settings_cover_at_least_nominally(seeds, deviation, paired):
    found = rates(settings, SAMPLES, seeds, QUERIES, seeds, deviation, paired)
    assert (
        min(found.values()) >= 95 - POINTS
        and max(found[name] for name in found if "rank" not in name) <= 95 + 2 * POINTS
    )

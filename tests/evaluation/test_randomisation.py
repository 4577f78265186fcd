"""The randomisation test: equal to a slow loop, exact for few groups, swaps whole groups, adjusted p values."""

from itertools import product

import numpy as np
import pytest
from test_additive import class_scores, tied_ranks
from traced import peak_bytes

from pipeline_lib.evaluation import randomisation as module
from pipeline_lib.evaluation.additive import class_columns, rank_columns
from pipeline_lib.evaluation.randomisation import Pair, mean_intervals, randomise
from pipeline_lib.execution.meter import metered
from pipeline_lib.metrics.classification import ClassScores, class_figures
from pipeline_lib.metrics.ranking import rank_figures
from pipeline_lib.metrics.tied_ranks import TiedRanks, untied

MEDIAN = 4


def rank_pair(rng, units, groups, shift=0):
    first = tied_ranks(rng, units)
    second = TiedRanks(np.maximum(tied_ranks(rng, units).higher - shift, 0), first.right, first.wrong)
    pooled = float(np.median(np.concatenate([first.expected(), second.expected()])))
    return Pair(rank_columns(first, pooled), rank_columns(second, pooled), groups), first, second


def swapped(first, second, members):
    """Both runs with the units of `members` exchanged."""
    order = np.where(members, 1, 0)
    both = [np.stack([getattr(run, name) for run in (first, second)]) for name in ("higher", "right", "wrong")]
    units = np.arange(len(first))
    return [TiedRanks(*(column[side, units] for column in both)) for side in (order, 1 - order)]


def test_few_groups_are_enumerated_and_equal_a_slow_loop_over_every_swap():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.arange(24) % 6)
    pair, first, second = rank_pair(rng, 24, groups)
    result = randomise([pair])
    assert result.exact and len(result.swapped) == 2**6 - 1
    observed = np.array(list(rank_figures(second).values())) - list(rank_figures(first).values())
    reached = np.zeros(6)
    for chosen in product([False, True], repeat=6):
        a, b = swapped(first, second, np.array(chosen)[groups])
        difference = np.array(list(rank_figures(b).values())) - list(rank_figures(a).values())
        reached += np.abs(difference) >= np.abs(observed) - 1e-12
    expected = reached / 2**6  # the sample itself is one of all swaps: (count + 1) / (n + 1)
    assert np.delete(result.p_values(), MEDIAN) == pytest.approx(np.delete(expected, MEDIAN))


def test_figures_that_are_no_means_equal_a_slow_loop_too():
    rng = np.random.default_rng(1)
    truth, groups = rng.integers(0, 3, 20), np.arange(20) % 5
    probabilities = [rng.dirichlet(np.ones(3), 20) + strength * np.eye(3)[truth] for strength in (0.1, 0.5)]
    pair = Pair(*(class_columns(ClassScores.of(truth, one)) for one in probabilities), groups)
    result = randomise([pair])
    numbers = []
    for chosen in product([False, True], repeat=5):
        members = np.array(chosen)[groups][:, None]
        a, b = np.where(members, *probabilities[::-1]), np.where(members, *probabilities)
        numbers.append(
            [
                y - x
                for x, y in zip(*(class_figures(ClassScores.of(truth, one)).values() for one in (a, b)), strict=True)
            ]
        )
    sizes = np.abs(numbers)
    expected = (sizes >= sizes[0] - 1e-12).mean(axis=0)
    assert result.p_values()[:4] == pytest.approx(expected)


def test_p_is_the_count_plus_one_over_the_swaps_plus_one_and_never_0():
    groups = np.arange(60)
    pair = Pair(rank_columns(untied(np.full(60, 9)), 5), rank_columns(untied(np.full(60, 1)), 5), groups)
    assert randomise([pair], swaps=999).p_values()[0] == 1 / 1000
    alike = Pair(pair.first, pair.first, groups)
    assert randomise([alike]).p_values().tolist() == [1] * 6 and randomise([alike]).num_groups == 0


def test_random_swaps_come_near_the_exact_p_value():
    rng = np.random.default_rng(2)
    pair, *_ = rank_pair(rng, 48, np.arange(48) % 12, shift=3)
    exact, drawn = randomise([pair]), randomise([pair], swaps=4000)
    assert exact.exact and not drawn.exact
    assert drawn.p_values() == pytest.approx(exact.p_values(), abs=0.03)


def test_blocks_do_not_change_the_draws(monkeypatch):
    rng = np.random.default_rng(3)
    pair, *_ = rank_pair(rng, 100, np.arange(100))
    together = randomise([pair], swaps=50).swapped
    monkeypatch.setattr(module, "BLOCK_VALUES", 100)
    assert randomise([pair], swaps=50).swapped == pytest.approx(together)


@pytest.mark.parametrize("groups", [12, 30])
def test_blocks_of_wide_figures_are_small_and_count_every_swap(monkeypatch, capsys, groups):
    """4,095 or 2,000 swaps of 2 x 500 + 17 sums are 16 MB or more at once, and the same in blocks of .5 MB."""
    rng = np.random.default_rng(13)
    truth = rng.integers(0, 500, 200)
    systems = [class_columns(class_scores(rng, truth, 500)) for _ in range(2)]
    pair = Pair(*systems, np.arange(200) % groups)
    together = randomise([pair], swaps=4095 if groups == 12 else 2000)
    assert together.exact == (groups == 12)
    monkeypatch.setattr(module, "BLOCK_VALUES", 1 << 16)
    found = []
    with metered("compare"):
        peak = peak_bytes(lambda: found.append(randomise([pair], swaps=len(together.swapped))))
    assert peak < 8e6
    assert found[0].swapped == pytest.approx(together.swapped, abs=1e-12)
    assert f"compare: {len(together.swapped):,} swaps of groups in" in capsys.readouterr().out


def test_units_of_a_group_are_swapped_together_so_copies_add_no_evidence():
    first = np.full(40, 20)
    second = first - np.where(np.arange(40) < 24, 1, -1)  # 24 better, 16 worse

    def p_value(groups, copies):
        pair = [rank_columns(untied(np.repeat(ranks, copies)), 12) for ranks in (first, second)]
        return randomise([Pair(*pair, groups)], swaps=4000).p_values()[5]

    once = p_value(np.arange(40), 1)
    assert p_value(np.repeat(np.arange(40), 9), 9) == pytest.approx(once, abs=0.02)
    assert once > 0.2 and p_value(np.arange(360), 9) < 0.01


def test_adjusted_p_values_equal_a_slow_step_down():
    rng = np.random.default_rng(5)
    pairs = [rank_pair(rng, 80, np.arange(80) % 40, shift)[0] for shift in (0, 4)]
    result = randomise(pairs, swaps=500)
    family = [0, 1, 3, 5, 6, 9, 11]
    order = sorted(family, key=lambda figure: -result.observed[figure])
    expected, largest = {}, 0.0
    for place, figure in enumerate(order):
        others = [max(row[other] for other in order[place:]) for row in result.swapped]
        count = sum(value >= result.observed[figure] - 1e-9 for value in others)
        largest = max(largest, (count + 1) / 501)
        expected[figure] = largest
    assert dict(zip(family, result.adjusted(family), strict=True)) == pytest.approx(expected)
    assert (result.adjusted(family) >= result.p_values()[family] - 1e-12).all()
    assert result.adjusted([5]) == pytest.approx(result.p_values()[[5]])


def test_copies_of_a_figure_cost_nothing_as_bonferroni_would():
    rng = np.random.default_rng(6)
    pair, *_ = rank_pair(rng, 90, np.arange(90), shift=2)
    once, six_runs = randomise([pair], 1000), randomise([pair] * 6, 1000)
    assert six_runs.adjusted([5, 11, 17, 23, 29, 35]) == pytest.approx(once.p_values()[[5]].repeat(6))


def test_the_critical_difference_parts_significant_from_others():
    rng = np.random.default_rng(7)
    for shift in (1, 2, 3, 4):
        result = randomise([rank_pair(rng, 90, np.arange(90), shift)[0]], 999)
        for figure in (3, 5):
            significant = result.p_values()[figure] <= 0.05
            assert significant == (result.observed[figure] > result.critical([figure]) + 1e-9)
    few, *_ = rank_pair(rng, 20, np.arange(20) % 5)
    assert randomise([few]).critical([5]) == np.inf and randomise([few]).p_values().min() >= 2 / 2**5


def test_very_many_groups_are_merged_and_never_parted(monkeypatch):
    monkeypatch.setattr(module, "MAX_GROUPS", 30)
    groups = np.repeat(np.arange(500), 3)
    merged = module.merged_groups(groups)
    assert sorted(set(merged.tolist())) == list(range(30)) and (merged[::3] == merged[2::3]).all()
    assert module.merged_groups(np.arange(30)).tolist() == list(range(30))


def test_no_pair_is_refused():
    with pytest.raises(ValueError, match="no pair of systems"):
        randomise([])


def test_equal_systems_are_found_different_in_one_of_twenty_samples():
    """False-positive rates over grouped rankings; tests/evaluation/test_coverage.py has more of them (slow)."""
    rng = np.random.default_rng(8)
    alone, family, samples = 0, 0, 200
    groups = np.repeat(np.arange(60), rng.choice([1, 1, 2, 4], 60))
    for number in range(samples):
        base = rng.standard_normal(60)[groups]
        runs = [untied(np.ceil(np.exp(1.5 + base + 0.7 * rng.standard_normal(len(groups))))) for _ in range(2)]
        pooled = float(np.median(np.concatenate([one.expected() for one in runs])))
        result = randomise([Pair(*(rank_columns(one, pooled) for one in runs), groups)], 199, number)
        alone += result.p_values()[5] <= 0.05
        family += result.adjusted(range(6)).min() <= 0.05
    assert 0.004 <= alone / samples <= 0.096 and family / samples <= 0.096  # 3 standard errors of .05


def test_classes_of_thousands_need_no_dense_matrix():
    rng = np.random.default_rng(9)
    truth = rng.integers(0, 3000, 4000)
    columns = [class_columns(class_scores(rng, truth[:200], 3000)) for _ in range(2)]
    assert columns[0].columns.nnz <= 5 * 200
    assert len(randomise([Pair(*columns, np.arange(200) % 20)], 99).p_values()) == 5


def test_intervals_of_means_are_the_shifts_that_a_slow_test_does_not_reject():
    rng = np.random.default_rng(10)
    groups = rng.permutation(np.repeat(np.arange(7), [1, 1, 2, 3, 3, 4, 9]))
    gains = rng.normal([0.4, -1], 1, (23, 2))
    limits = mean_intervals(gains, groups)

    def p_value(figure, shift):
        rest = np.bincount(groups, gains[:, figure] - shift)
        sums = [abs(np.dot(signs, rest)) for signs in product([1, -1], repeat=7)]
        return np.mean(np.array(sums) >= abs(rest.sum()) - 1e-9)

    for figure, (low, high) in enumerate(limits):
        width = high - low
        for inside, outside in ((low + 1e-6 * width, low - 1e-6 * width), (high - 1e-6 * width, high + 1e-6 * width)):
            assert p_value(figure, inside) > 0.05 >= p_value(figure, outside)


def test_an_interval_excludes_0_where_the_test_rejects_and_few_groups_have_none():
    rng = np.random.default_rng(11)
    for shift in (0, 1, 2, 4):
        pair, first, second = rank_pair(rng, 90, np.arange(90) // 2, shift)
        (span,) = mean_intervals((second.expected() - first.expected())[:, None], np.arange(90) // 2, 999, 3)
        p_value = randomise([pair], 999, 3).p_values()[5]
        assert (span[0] > 0 or span[1] < 0) == (p_value <= 0.05) or abs(p_value - 0.05) < 0.02
    assert np.isinf(mean_intervals(np.ones((5, 1)), np.arange(5))).all()
    assert mean_intervals(np.ones((50, 1)), np.arange(50)).tolist() == [[1, 1]]


def test_intervals_of_equal_groups_are_near_students():
    gains = np.random.default_rng(12).standard_normal((300, 1))
    (span,) = mean_intervals(gains, np.arange(300))
    (expected,) = [gains.mean() + np.array([-1, 1]) * 1.968 * gains.std(ddof=1) / np.sqrt(300)]
    assert span == pytest.approx(expected, abs=0.01)

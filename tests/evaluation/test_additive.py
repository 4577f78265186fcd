"""Figures from sums by group: equal to the figures of the units, for rankings with ties and for classes."""

import numpy as np
import pytest

from pipeline_lib.evaluation.additive import class_columns, rank_columns
from pipeline_lib.evaluation.summary import published
from pipeline_lib.metrics.classification import ClassScores
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_statistic
from pipeline_lib.metrics.tied_ranks import TiedRanks
from pipeline_lib.metrics.weighted import point


def tied_ranks(rng, units):
    return TiedRanks(rng.integers(0, 30, units), rng.integers(1, 3, units), rng.integers(0, 4, units))


def class_scores(rng, truth, classes):
    return ClassScores.of(truth, rng.dirichlet(np.ones(classes), len(truth)) + 0.3 * np.eye(classes)[truth])


def figures_of_sums(system, groups):
    sums = system.group_sums(groups, int(groups.max()) + 1).toarray()
    return dict(zip(system.names, system.finish(sums.sum(axis=0)[None, :])[0], strict=True))


def test_ranks_give_their_figures_and_the_share_of_ranks_up_to_the_median():
    rng = np.random.default_rng(0)
    ranks, groups = tied_ranks(rng, 200), rng.integers(0, 40, 200)
    found = figures_of_sums(rank_columns(ranks, 9.5), groups)
    expected = dict(zip(RANK_FIGURES, point(rank_statistic(ranks), 200), strict=True))
    expected["median_rank"] = np.mean(ranks.expected() <= 9.5)
    assert found == pytest.approx(expected)


def test_classes_give_the_published_figures_also_of_a_class_without_a_product():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 150)
    scores = class_scores(rng, truth, 5)
    system = class_columns(scores)
    found = figures_of_sums(system, rng.integers(0, 30, 150))
    assert list(found.values()) == pytest.approx(point(published(scores), 150).tolist())


def test_sums_are_those_of_the_members_of_a_group():
    rng = np.random.default_rng(2)
    ranks, groups = tied_ranks(rng, 30), rng.integers(0, 6, 30)
    system = rank_columns(ranks, 5)
    sums, columns = system.group_sums(groups, 6).toarray(), system.columns.toarray()
    for group in range(6):
        assert sums[group] == pytest.approx(columns[groups == group].sum(axis=0))

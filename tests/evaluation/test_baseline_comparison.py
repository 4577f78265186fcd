"""Baseline figures and gains equal those of the paired jackknife."""

import numpy as np
import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import BASELINES_SCHEMA, PREDICTIONS_SCHEMA
from pipeline_lib.evaluation import baseline_comparison
from pipeline_lib.evaluation.baseline_comparison import baseline_trees
from pipeline_lib.evaluation.intervals import share_intervals
from pipeline_lib.evaluation.jackknife import jackknife, paired_differences
from pipeline_lib.metrics.classification import ClassScores, class_figures, class_statistic

CLASSES = ["cup", "hat", "mug"]


@pytest.fixture
def drawn():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 50)
    tuned, plain = (rng.dirichlet(np.ones(3), 50) + signal * np.eye(3)[truth] for signal in (0.8, 0.3))
    rows = [
        (f"p{n}", "oof", 0, CLASSES[truth[n]], CLASSES[tuned[n].argmax()], tuned[n].tolist(), f"g{n:02}")
        for n in range(50)
    ]
    predictions = pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row")
    return truth, tuned.astype(np.float32), plain, scored(predictions, CLASSES)


def test_figures_and_gains_are_those_of_the_paired_jackknife(drawn):
    truth, tuned, plain, predictions = drawn
    figures, intervals, gains = baseline_trees(predictions, {"knn": {"oof": ClassScores.of(truth, plain)}}, CLASSES)
    expected = class_figures(ClassScores.of(truth, plain))
    statistic = class_statistic(ClassScores.of(truth, plain))
    found = jackknife(statistic, np.arange(50))
    spans = share_intervals(found._replace(values=found.values - [0, 0, found.biases[2], 0]))
    differences = paired_differences(statistic, class_statistic(ClassScores.of(truth, tuned)), np.arange(50))
    assert gains.schema == BASELINES_SCHEMA and gains["figure"].to_list() == ["top1", "macro_f1"]
    for row, (name, column) in zip(gains.iter_rows(named=True), (("top1", 0), ("macro_f1", 2)), strict=True):
        assert figures["oof"]["baselines"]["knn"][name] == row["value"] == pytest.approx(expected[name], abs=1e-6)
        assert intervals["oof"]["baselines"]["knn"][name] == pytest.approx(spans[column], abs=1e-6)
        gain = (row["gain"], row["gain_low"], row["gain_high"])
        assert gain == pytest.approx(differences[column], abs=1e-6)
    assert gains["gain"].min() > 0


def test_the_intervals_of_two_groups_end_where_a_gain_can(drawn):
    truth, tuned, plain, predictions = drawn
    gained = (tuned.argmax(axis=1) == truth) & (plain.argmax(axis=1) != truth)
    two = predictions.with_columns(group_id=pl.Series(gained).cast(pl.String))
    gains = baseline_trees(two, {"knn": {"oof": ClassScores.of(truth, plain)}}, CLASSES)[2]
    assert gains["gain_low"].to_list() == [-1, -1] and gains["gain_high"].to_list() == [1, 1]


def test_without_baselines_there_is_no_branch(drawn):
    *_, predictions = drawn
    for empty in ({}, {"knn": {}}):
        figures, intervals, gains = baseline_trees(predictions, empty, CLASSES)
        assert (figures, intervals, gains.height) == ({}, {}, 0)


def test_the_figures_without_each_group_are_computed_once_for_each_system(drawn, monkeypatch):
    truth, _, plain, predictions = drawn
    resamples = []

    def counted(scores):
        statistic = class_statistic(scores)
        return lambda counts: resamples.append(len(counts)) or statistic(counts)

    monkeypatch.setattr(baseline_comparison, "class_statistic", counted)
    knn, probe = ({"oof": ClassScores.of(truth, values)} for values in (plain, plain[::-1]))
    baseline_trees(predictions, {"knn": knn, "probe": probe}, CLASSES)
    # The sample, and without each of its 50 groups; of two baselines and the trained model.
    assert sum(resamples) == 3 * 51

"""Classification metrics by hand, against sklearn, and under weights."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from traced import peak_bytes

from pipeline_lib.metrics.classification import (
    CLASS_FIGURES,
    ClassScores,
    class_figures,
    class_statistic,
    class_table,
    confusion_counts,
)


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 40))
    return rng.integers(0, num_classes, count), rng.dirichlet(np.ones(num_classes), count)


def test_hand_worked_table():
    truth = np.array([0, 0, 1, 2])
    probabilities = np.array(
        [
            [0.7, 0.1, 0.1, 0.1],  # correct
            [0.1, 0.6, 0.2, 0.1],  # predicted 1; the true class ties with class 3 and is third
            [0.1, 0.6, 0.2, 0.1],  # correct
            [0.3, 0.3, 0.1, 0.3],  # predicted 0; the true class is fourth
        ]
    )
    figures = class_figures(ClassScores.of(truth, probabilities))
    assert figures["top1"] == 0.5
    assert figures["top3"] == 0.75
    # class 0: p 1/2, r 1/2; class 1: p 1/2, r 1; class 2: 0; class 3 does not occur
    assert figures["macro_f1"] == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    assert figures["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)


def test_equal_probabilities_are_a_hit_for_the_first_class_only():
    figures = class_figures(ClassScores.of(np.array([0, 1, 2, 3]), np.full((4, 4), 0.25)))
    assert (figures["top1"], figures["top3"]) == (0.25, 0.75)


@given(cases())
def test_equals_sklearn(case):
    truth, probabilities = case
    predicted = probabilities.argmax(axis=1)
    figures = class_figures(ClassScores.of(truth, probabilities))
    present = np.unique(truth)
    assert figures["macro_f1"] == pytest.approx(
        f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    )
    assert figures["top1"] == pytest.approx((truth == predicted).mean())
    with warnings.catch_warnings(action="ignore"):  # sklearn warns of predicted classes that do not occur
        assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    classes = np.arange(probabilities.shape[1])
    matrix = confusion_matrix(truth, predicted, labels=classes)
    pairs = [[i, j, matrix[i, j]] for i, j in np.argwhere(matrix)]
    assert confusion_counts(truth, predicted, len(classes)).tolist() == pairs
    if len(classes) > 3:
        assert figures["top3"] == pytest.approx(top_k_accuracy_score(truth, probabilities, k=3, labels=classes))


@given(cases())
def test_the_class_table_equals_sklearn(case):
    truth, probabilities = case
    predicted = probabilities.argmax(axis=1)
    names = [f"class {number}" for number in range(probabilities.shape[1])]
    table = class_table(truth, predicted, names)
    present = sorted(set(truth.tolist()) | set(predicted.tolist()))
    assert table["label"].to_list() == [names[number] for number in present]
    expected = precision_recall_fscore_support(truth, predicted, labels=present, zero_division=0)
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert table[column].to_numpy() == pytest.approx(values)


@given(cases(), st.integers(0, 2**32 - 1))
def test_weights_equal_repeated_products(case, seed):
    truth, probabilities = case
    counts = np.random.default_rng(seed).integers(0, 3, (2, len(truth))).astype(float)
    counts[:, -1] += 1
    result = class_statistic(ClassScores.of(truth, probabilities))(counts)
    for row, weights in zip(result, counts, strict=True):
        rows = np.repeat(np.arange(len(truth)), weights.astype(int))
        repeated = class_figures(ClassScores.of(truth[rows], probabilities[rows]))
        assert row == pytest.approx([repeated[name] for name in CLASS_FIGURES])


def test_thousands_of_classes_need_no_matrix_of_classes():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3000, (2, 500))
    names = [str(number) for number in range(3000)]
    assert peak_bytes(lambda: confusion_counts(truth, predicted, 3000)) < 1e6
    assert peak_bytes(lambda: class_table(truth, predicted, names)) < 2e6

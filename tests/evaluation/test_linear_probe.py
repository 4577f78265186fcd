"""The probe against sklearn's ridge regression on standardised features, its strength against slow searches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from traced import peak_bytes

from pipeline_lib.evaluation.baselines import linear_probe
from pipeline_lib.evaluation.baselines.linear_probe import STRENGTHS, added, cross_fit_probes, regress, sums_of


def drawn(seed, count=60, width=5, num_classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, count)
    features = rng.normal(size=(count, width)) * rng.uniform(0.1, 3, width) + rng.normal(size=width)
    features[:, :num_classes] += signal * np.eye(num_classes)[truth]
    return features.astype(np.float32), truth


def sklearn_scores(features, truth, queries, strength):
    scaler = StandardScaler().fit(features.astype(np.float64))
    ridge = Ridge(alpha=strength * len(features)).fit(scaler.transform(features), np.eye(3)[truth])
    return ridge.predict(scaler.transform(queries))


def slow_error(features, truth, strength):
    """Return the generalised cross-validation error, from the hat matrix."""
    n = len(features)
    z = (features - features.mean(0)) / features.std(0)
    y = np.eye(3)[truth]
    hat = z @ np.linalg.solve(z.T @ z + n * strength * np.eye(z.shape[1]), z.T) + np.full((n, n), 1 / n)
    return ((y - hat @ y) ** 2).sum() / n / (1 - np.trace(hat) / n) ** 2


def of_one(features, truth):
    return cross_fit_probes({None: sums_of(features, truth, 3)})[None]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=25)
def test_without_folds_equals_sklearn_at_the_strength_of_lowest_generalised_error(seed, signal):
    features, truth = drawn(seed, signal=signal)
    queries, _ = drawn(seed + 1)
    errors = [slow_error(features.astype(np.float64), truth, strength) for strength in STRENGTHS]
    scores = of_one(features, truth).scores(queries)
    near = [strength for strength, error in zip(STRENGTHS, errors, strict=True) if error <= min(errors) * (1 + 1e-9)]
    assert any(scores == pytest.approx(sklearn_scores(features, truth, queries, one), abs=1e-4) for one in near)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0]), st.booleans())
@settings(max_examples=15)
def test_with_folds_the_next_one_chooses_the_strength_and_all_choose_that_of_test(seed, signal, always):
    """The slow search: sklearn fits without the fold and its judge, and the squared error on the judge decides."""
    features, truth = drawn(seed, signal=signal)
    queries, _ = drawn(seed + 1)
    fold_of = np.arange(60) % (4 if always else 3)
    members = {None if fold == 3 else fold: fold_of == fold for fold in set(fold_of)}
    parts = {fold: sums_of(features[rows], truth[rows], 3) for fold, rows in members.items()}

    def errors(judge, *left_out):
        known, held = ~np.isin(fold_of, left_out), fold_of == judge
        scores = [sklearn_scores(features[known], truth[known], features[held], strength) for strength in STRENGTHS]
        return np.array([((one - np.eye(3)[truth[held]]) ** 2).sum() for one in scores])

    judged = {fold: errors((fold + 1) % 3, fold, (fold + 1) % 3) for fold in range(3)}
    judged[None] = sum(errors(fold, fold) for fold in range(3))
    probes = cross_fit_probes(parts)
    assert set(probes) == {None, 0, 1, 2}
    for fold, probe in probes.items():
        known = np.ones(60, bool) if fold is None else fold_of != fold
        near = STRENGTHS[judged[fold] <= judged[fold].min() * (1 + 1e-6)]
        slow = [sklearn_scores(features[known], truth[known], queries, strength) for strength in near]
        assert any(probe.scores(queries) == pytest.approx(scores, abs=1e-4) for scores in slow)


def test_on_duplicated_products_folds_choose_better_than_generalised_cross_validation():
    """Generalised cross-validation takes each duplicate as independent evidence."""
    features, truth = drawn(2, count=40, width=60, signal=0.5)
    twice, labels = np.repeat(features, 2, axis=0), np.repeat(truth, 2)
    queries, expected = drawn(9, count=400, width=60, signal=0.5)
    parts = {fold: sums_of(twice[16 * fold :][:16], labels[16 * fold :][:16], 3) for fold in range(5)}
    accuracy = [
        (probe.scores(queries).argmax(axis=1) == expected).mean()
        for probe in (cross_fit_probes(parts)[None], of_one(twice, labels))
    ]
    assert accuracy[0] > accuracy[1]


def test_a_fold_without_other_products_has_no_probe():
    features, truth = drawn(4)
    assert set(cross_fit_probes({0: sums_of(features, truth, 3)})) == {None}


def test_sums_add_up_for_any_parts_and_blocks(monkeypatch):
    features, truth = drawn(3)
    total = regress(sums_of(features, truth, 3)).probe(0.1)
    monkeypatch.setattr(linear_probe, "BLOCK", 7)
    parts = [sums_of(features[rows], truth[rows], 3) for rows in (slice(0, 13), slice(13, 60))]
    joined = regress(added(parts)).probe(0.1)
    assert joined.slope == pytest.approx(total.slope) and joined.offset == pytest.approx(total.offset)


def test_constant_features_and_more_features_than_products_are_handled():
    features, truth = drawn(1, count=12, width=40)
    features[:, 7] = 0
    probe = of_one(features, truth)
    assert not probe.slope[7].any() and np.isfinite(probe.scores(features)).all()


def test_separable_classes_are_separated():
    features, truth = drawn(5, count=200, signal=8.0)
    queries, expected = drawn(5, count=200, signal=8.0)
    assert (of_one(features, truth).scores(queries).argmax(axis=1) == expected).mean() > 0.95


def test_sums_equal_those_of_a_one_hot_matrix_in_blocks_that_lack_classes(monkeypatch):
    monkeypatch.setattr(linear_probe, "BLOCK", 7)
    features, truth = drawn(3, num_classes=4)
    sums = sums_of(features, truth, 6)
    assert sums.crossed == pytest.approx(features.astype(np.float64).T @ np.eye(6)[truth], rel=1e-12, abs=1e-12)
    assert sums.classes.tolist() == np.bincount(truth, minlength=6).tolist()


def test_sums_of_thousands_of_classes_need_no_matrix_of_classes():
    rng = np.random.default_rng(0)
    features, truth = rng.normal(size=(500, 8)).astype(np.float32), rng.integers(0, 3000, 500)
    assert peak_bytes(lambda: sums_of(features, truth, 3000)) < 1e6

"""The probe against sklearn's ridge on standardised features, and its strength against slow searches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pipeline_lib.evaluation.baselines import linear_probe
from pipeline_lib.evaluation.baselines.linear_probe import STRENGTHS, added, fit_probes, regress, sums_of


def drawn(seed, count=60, width=5, num_classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, count)
    features = rng.normal(size=(count, width)) * rng.uniform(0.1, 3, width) + rng.normal(size=width)
    features[:, :num_classes] += signal * np.eye(num_classes)[truth]
    return features.astype(np.float32), truth


def sklearn_scores(features, truth, asked, strength):
    scaler = StandardScaler().fit(features.astype(np.float64))
    ridge = Ridge(alpha=strength * len(features)).fit(scaler.transform(features), np.eye(3)[truth])
    return ridge.predict(scaler.transform(asked))


def slow_error(features, truth, strength):
    """Generalised cross-validation from the hat matrix itself."""
    n = len(features)
    z = (features - features.mean(0)) / features.std(0)
    y = np.eye(3)[truth]
    hat = z @ np.linalg.solve(z.T @ z + n * strength * np.eye(z.shape[1]), z.T) + np.full((n, n), 1 / n)
    return ((y - hat @ y) ** 2).sum() / n / (1 - np.trace(hat) / n) ** 2


def of_one(features, truth):
    return fit_probes({None: sums_of(features, truth, 3)})[None]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=25)
def test_without_folds_equals_sklearn_at_the_strength_of_least_generalised_error(seed, signal):
    features, truth = drawn(seed, signal=signal)
    asked, _ = drawn(seed + 1)
    errors = [slow_error(features.astype(np.float64), truth, strength) for strength in STRENGTHS]
    found = of_one(features, truth).scores(asked)
    near = [strength for strength, error in zip(STRENGTHS, errors, strict=True) if error <= min(errors) * (1 + 1e-9)]
    assert any(found == pytest.approx(sklearn_scores(features, truth, asked, one), abs=1e-4) for one in near)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0]), st.booleans())
@settings(max_examples=15)
def test_with_folds_the_next_one_chooses_the_strength_and_all_choose_that_of_test(seed, signal, always):
    """Slowly: sklearn teaches on what neither the fold nor its judge holds, and the judge's squared error decides."""
    features, truth = drawn(seed, signal=signal)
    asked, _ = drawn(seed + 1)
    dealt = np.arange(60) % (4 if always else 3)
    parts = {None if key == 3 else key: sums_of(features[dealt == key], truth[dealt == key], 3) for key in set(dealt)}

    def errors(judge, *left_out):
        known, held = ~np.isin(dealt, left_out), dealt == judge
        told = [sklearn_scores(features[known], truth[known], features[held], strength) for strength in STRENGTHS]
        return np.array([((scores - np.eye(3)[truth[held]]) ** 2).sum() for scores in told])

    judged = {fold: errors((fold + 1) % 3, fold, (fold + 1) % 3) for fold in range(3)}
    judged[None] = sum(errors(fold, fold) for fold in range(3))
    found = fit_probes(parts)
    assert set(found) == {None, 0, 1, 2}
    for key, probe in found.items():
        known = np.ones(60, bool) if key is None else dealt != key
        near = STRENGTHS[judged[key] <= judged[key].min() * (1 + 1e-6)]
        slow = [sklearn_scores(features[known], truth[known], asked, strength) for strength in near]
        assert any(probe.scores(asked) == pytest.approx(scores, abs=1e-4) for scores in slow)


def test_products_that_stand_twice_ask_for_more_than_generalised_cross_validation_gives():
    """Why folds choose: doubled products look like twice the evidence to it."""
    features, truth = drawn(2, count=40, width=60, signal=0.5)
    twice, told = np.repeat(features, 2, axis=0), np.repeat(truth, 2)
    asked, wanted = drawn(9, count=400, width=60, signal=0.5)
    parts = {fold: sums_of(twice[fold * 16 : fold * 16 + 16], told[fold * 16 : fold * 16 + 16], 3) for fold in range(5)}
    right = [
        (probe.scores(asked).argmax(axis=1) == wanted).mean()
        for probe in (fit_probes(parts)[None], of_one(twice, told))
    ]
    assert right[0] > right[1]


def test_a_fold_that_nothing_else_teaches_has_no_probe():
    features, truth = drawn(4)
    assert set(fit_probes({0: sums_of(features, truth, 3)})) == {None}


def test_sums_add_up_whatever_the_parts_and_blocks(monkeypatch):
    features, truth = drawn(3)
    whole = regress(sums_of(features, truth, 3)).probe(0.1)
    monkeypatch.setattr(linear_probe, "BLOCK", 7)
    parts = [sums_of(features[rows], truth[rows], 3) for rows in (slice(0, 13), slice(13, 60))]
    joined = regress(added(parts)).probe(0.1)
    assert joined.slope == pytest.approx(whole.slope) and joined.offset == pytest.approx(whole.offset)


def test_features_that_never_change_and_more_features_than_products_are_borne():
    features, truth = drawn(1, count=12, width=40)
    features[:, 7] = 0
    probe = of_one(features, truth)
    assert not probe.slope[7].any() and np.isfinite(probe.scores(features)).all()


def test_what_is_apart_is_told_apart():
    features, truth = drawn(5, count=200, signal=8.0)
    asked, wanted = drawn(5, count=200, signal=8.0)
    assert (of_one(features, truth).scores(asked).argmax(axis=1) == wanted).mean() > 0.95

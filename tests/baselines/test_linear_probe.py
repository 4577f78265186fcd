"""The probe against sklearn's ridge on standardised features, and its strength against a slow search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pipeline_lib.baselines import linear_probe
from pipeline_lib.baselines.linear_probe import STRENGTHS, added, fit_probe, sums_of


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


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=25)
def test_equals_sklearn_at_the_strength_of_least_error(seed, signal):
    features, truth = drawn(seed, signal=signal)
    asked, _ = drawn(seed + 1)
    errors = [slow_error(features.astype(np.float64), truth, strength) for strength in STRENGTHS]
    found = fit_probe(sums_of(features, truth, 3)).scores(asked)
    near = [strength for strength, error in zip(STRENGTHS, errors, strict=True) if error <= min(errors) * (1 + 1e-9)]
    assert any(found == pytest.approx(sklearn_scores(features, truth, asked, one), abs=1e-4) for one in near)


def test_sums_add_up_whatever_the_parts_and_blocks(monkeypatch):
    features, truth = drawn(3)
    whole = fit_probe(sums_of(features, truth, 3))
    monkeypatch.setattr(linear_probe, "BLOCK", 7)
    parts = [sums_of(features[rows], truth[rows], 3) for rows in (slice(0, 13), slice(13, 60))]
    joined = fit_probe(added(parts))
    assert joined.slope == pytest.approx(whole.slope) and joined.offset == pytest.approx(whole.offset)


def test_features_that_never_change_and_more_features_than_products_are_borne():
    features, truth = drawn(1, count=12, width=40)
    features[:, 7] = 0
    probe = fit_probe(sums_of(features, truth, 3))
    assert not probe.slope[7].any() and np.isfinite(probe.scores(features)).all()


def test_what_is_apart_is_told_apart():
    features, truth = drawn(5, count=200, signal=8.0)
    asked, wanted = drawn(5, count=200, signal=8.0)
    assert (fit_probe(sums_of(features, truth, 3)).scores(asked).argmax(axis=1) == wanted).mean() > 0.95

"""Hit rates against pytrec_eval (trec_eval's C code), on random relevance with ties and several positives.

trec_eval breaks ties by document name, the later one first; its `success_k` is our hit rate. Names are chosen so that
positives are first or last in their ties. Over shuffled names, the mean rank of the first hit is our expected rank, and
the mean of the hits our R@k.
"""

import numpy as np
import pytest
import pytrec_eval

from pipeline_lib.metrics.ranking import rank_figures
from pipeline_lib.metrics.recall import best_positive_ranks
from pipeline_lib.metrics.relevance import positions_from_lists

CUTOFFS = (1, 5, 10)
MEASURES = {f"success.{','.join(map(str, CUTOFFS))}", "recip_rank"}


def judged(scores, positives, names):
    """Return trec_eval's measures of each query; `names` are the document names by gallery position."""
    relevance = {f"q{i}": {names[p]: 1 for p in own} for i, own in enumerate(positives)}
    run = {f"q{i}": {names[p]: float(s) for p, s in enumerate(row)} for i, row in enumerate(scores)}
    measures = pytrec_eval.RelevanceEvaluator(relevance, MEASURES).evaluate(run)
    return [measures[f"q{i}"] for i in range(len(scores))]


def case(seed, spread):
    """Integer embeddings, exact in float32, so a small spread gives many ties; 1 to 6 positives per query."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-spread, spread + 1, (30, 4)).astype(np.float32)
    gallery = rng.integers(-spread, spread + 1, (40, 4)).astype(np.float32)
    positives = [rng.choice(40, rng.integers(1, 7), replace=False).tolist() for _ in queries]
    return rng, queries, gallery, positives


def test_without_ties_every_hit_is_the_same():
    rng = np.random.default_rng(0)
    queries, gallery = (rng.standard_normal((n, 16)).astype(np.float32) for n in (60, 200))
    positives = [rng.choice(200, rng.integers(1, 7), replace=False).tolist() for _ in queries]
    tied = best_positive_ranks(queries, gallery, positions_from_lists(positives))
    ranks = tied.expected()
    measures = judged(queries @ gallery.T, positives, [f"{p:03d}" for p in range(200)])
    assert ranks == pytest.approx([1 / each["recip_rank"] for each in measures])
    figures = rank_figures(tied)
    for k in CUTOFFS:
        assert figures[f"R@{k}"] == pytest.approx(np.mean([each[f"success_{k}"] for each in measures]))


@pytest.mark.parametrize(("seed", "spread"), [(1, 1), (2, 2), (3, 3)])
def test_ties_are_between_the_best_and_the_worst_order(seed, spread):
    """With names that put positives first or last, our rank is between the two, and equal where they agree."""
    _, queries, gallery, positives = case(seed, spread)
    tied = best_positive_ranks(queries, gallery, positions_from_lists(positives))
    ranks = tied.expected()
    scores, bounds = queries @ gallery.T, []
    for mark in ("zy", "yz"):  # trec_eval puts the later name first
        each = []
        for row, own in zip(scores, positives, strict=True):
            names = [f"{mark[0] if p in own else mark[1]}{p:02d}" for p in range(40)]
            each.append(1 / judged([row], [own], names)[0]["recip_rank"])
        bounds.append(np.round(each))
    best, worst = bounds
    assert (best < worst).sum() > 5
    assert (best <= ranks).all() and (ranks <= worst).all()
    assert (ranks == best)[best == worst].all()
    for k in CUTOFFS:
        assert (worst <= k).mean() <= rank_figures(tied)[f"R@{k}"] <= (best <= k).mean()


def test_ranks_and_hits_are_the_means_over_shuffled_names():
    rng, queries, gallery, positives = case(4, 1)
    tied = best_positive_ranks(queries, gallery, positions_from_lists(positives))
    scores, total, hits, draws = queries @ gallery.T, np.zeros(30), np.zeros((30, len(CUTOFFS))), 1500
    for _ in range(draws):
        names = [f"{p:02d}" for p in rng.permutation(40)]
        measures = judged(scores, positives, names)
        total += [1 / each["recip_rank"] for each in measures]
        hits += [[each[f"success_{k}"] for k in CUTOFFS] for each in measures]
    spread = 40 / np.sqrt(12 * draws)  # standard error of a rank that is uniform over the gallery
    ranks = tied.expected()
    assert np.abs(total / draws - ranks).max() < 4 * spread
    assert np.abs(total / draws - ranks).mean() < 0.1
    expected = np.stack([tied.hits(k) for k in CUTOFFS], axis=1)
    assert np.abs(hits / draws - expected).max() < 4 * 0.5 / np.sqrt(draws)
    assert ((expected > 0.05) & (expected < 0.95)).sum() > 20

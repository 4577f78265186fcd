"""Corrections of hubness: products that are near many queries and so stand first for queries that they do not answer.

A correction changes the score of a query with a product by how near other queries are to that product. A bank of
training queries costs nothing at search time but one number a product; dual softmax needs all test queries at once.
Scores are float64, and only a few rows of them are in memory.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.composed import query_chunks, vector_scores
from pipeline_lib.metrics.relevance import Positions
from pipeline_lib.metrics.score_counts import EQUAL, Integers, Matrix, Values, norms, pair_scores
from pipeline_lib.metrics.tied_ranks import TiedRanks
from pipeline_lib.metrics.top_k import top_k

Mask = NDArray[np.bool_]
# Contract: scores, and the numbers of the queries and of the gallery items that they belong to, which broadcast against
# them -> corrected scores. A query's own order counts; scores of two queries do not compare.
Correct = Callable[[Values, Integers, Integers], Values]


def log_sums(blocks: Iterable[Matrix], gallery: Matrix, temperature: float) -> Values:
    """Return the log of the sum over a bank of exp(score / temperature) for each gallery item, (gallery,).

    `blocks` are the bank's vectors (queries, dim), which may be mapped from a file: they are read once, in parts.
    Raises ValueError for an empty bank.
    """
    highest, sums = np.full(len(gallery), -np.inf), np.zeros(len(gallery))
    for block in blocks:
        score = vector_scores(np.asarray(block, np.float32), gallery[:, None])
        for part in query_chunks(len(block), len(gallery)):
            scaled = score(part)
            scaled /= temperature
            above = np.maximum(highest, scaled.max(axis=0))
            sums *= np.exp(highest - above)
            scaled -= above
            sums += np.exp(scaled, out=scaled).sum(axis=0)
            highest = above
    if not sums.all():
        raise ValueError("the bank has no query")
    return np.asarray(highest + np.log(sums))


def first_of_bank(blocks: Iterable[Matrix], gallery: Matrix, places: Integers) -> Mask:
    """Return which gallery items are the best one of a query of the bank, (gallery,); `places` order equal scores."""
    found = np.zeros(len(gallery), np.bool_)
    for block in blocks:
        found[top_k(np.asarray(block, np.float32), gallery, 1, places)[0].ravel()] = True
    return found


def inverted_softmax(sums: Values, temperature: float) -> Correct:
    """Return the inverted softmax (Smith et al. 2017, arXiv:1702.03859) by the `log_sums` of a bank, (gallery,).

    exp(score / temperature) / sum over the bank of the same is ordered as score - temperature x log sum, which is what
    a corrected score is here.
    """
    return lambda scores, _, items: scores - temperature * sums[items]


def qb_norm(sums: Values, temperature: float, corrected: Mask) -> Correct:
    """Return the dynamic inverted softmax of QB-Norm (Bogolin et al., CVPR 2022, arXiv:2112.12777).

    Only queries that are `corrected` (queries,) have the inverted softmax: those whose best gallery item is also the
    best one of a query of the bank (see `first_of_bank`). The others keep their scores.
    """
    inverted = inverted_softmax(sums, temperature)
    return lambda scores, queries, items: np.where(corrected[queries], inverted(scores, queries, items), scores)


def dual_softmax(sums: Values, temperature: float) -> Correct:
    """Return the dual softmax of CAMoE (arXiv:2109.04290): the score times its softmax over all queries.

    `sums` are `log_sums` over all queries that are ranked, so that the answer to one depends on the others.
    """
    return lambda scores, _, items: scores * np.exp(scores / temperature - sums[items])


def corrected_ranks(queries: Matrix, gallery: Matrix, positives: Positions, correct: Correct) -> TiedRanks:
    """Return the rank of each query's best positive by corrected scores; (queries, dim) x (gallery, dim).

    Every query needs a positive. Two scores tie if they are equal within the rounding of float64.
    """
    queries, gallery = np.asarray(queries, np.float32), np.asarray(gallery, np.float32)
    score, items = vector_scores(queries, gallery[:, None]), np.arange(len(gallery))[None]
    best, slack = _best(queries, gallery, positives, correct)
    owner = np.repeat(np.arange(len(queries)), positives.counts())
    ranks = np.zeros((3, len(queries)), np.int64)
    for part in query_chunks(len(queries), len(gallery)):
        rows = np.arange(part.start, part.stop)[:, None]
        corrected = correct(score(part), rows, items)
        above, reached = corrected > (best + slack)[part, None], corrected >= (best - slack)[part, None]
        pairs = slice(positives.indptr[part.start], positives.indptr[part.stop])
        right = np.bincount(
            owner[pairs] - part.start, reached[owner[pairs] - part.start, positives.indices[pairs]], len(rows)
        )
        higher = above.sum(axis=1)
        ranks[:, part] = higher, right, reached.sum(axis=1) - higher - right.astype(np.int64)
    return TiedRanks(*ranks)


def _best(queries: Matrix, gallery: Matrix, positives: Positions, correct: Correct) -> tuple[Values, Values]:
    """Return the best corrected score of each query's positives, and by how much rounding may move it, (queries,)."""
    row, item = np.repeat(np.arange(len(queries)), positives.counts()), positives.indices
    scores = pair_scores(queries, gallery, row, item)
    corrected = correct(scores, row, item)
    rounding = EQUAL * norms(queries)[row] * norms(gallery).max(initial=0.0)
    moved = np.abs(correct(scores + rounding, row, item) - correct(scores - rounding, row, item))
    best: Values = np.maximum.reduceat(corrected, positives.indptr[:-1])
    slack: Values = np.maximum.reduceat(
        np.where(corrected == best[row], moved + EQUAL * np.abs(corrected), 0.0), positives.indptr[:-1]
    )
    return best, slack

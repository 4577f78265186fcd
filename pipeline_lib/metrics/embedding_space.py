"""Figures of an embedding space: alignment, uniformity, modality gap, hubness, and a plane to draw it on.

All are of unit vectors. Nothing holds a matrix of all pairs: sums run over blocks of rows, and a large set is
represented by a sample that the seed alone decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.relevance import Positions

Values = NDArray[np.float64]
Integers = NDArray[np.int64]
Vectors = NDArray[np.floating]
BLOCK = 1_024
# Of cosines at a time: enough for the rows to repeat in a small catalogue.
PAIRS = 4_096
# Of the potential exp(-T d^2) in the uniformity: the value of its authors.
T = 2.0


def unit_rows(values: Vectors) -> Values:
    """Return rows (n, dim) of unit length in float64; a row of zeros stays."""
    rows = np.asarray(values, np.float64)
    unit: Values = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def sampled_rows(count: int, most: int, seed: int) -> Integers:
    """Return all rows 0 .. count - 1, or `most` of them, ascending; the same for the same seed."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def pair_cosines(queries: Vectors, products: Vectors, query: Integers, product: Integers) -> Values:
    """Return the cosine of each pair (query[i], product[i]), (pairs,); the matrices may be mapped from files."""
    cosines = np.empty(len(query))
    for start in range(0, len(query), PAIRS):
        part = slice(start, start + PAIRS)
        cosines[part] = (_unit_of(queries, query[part]) * _unit_of(products, product[part])).sum(axis=1)
    return cosines


def _unit_of(vectors: Vectors, rows: Integers) -> Values:
    """Return the unit rows of many row numbers, which repeat: each row is normalised once."""
    distinct, place = np.unique(rows, return_inverse=True)
    return unit_rows(vectors[distinct])[place]


def alignment(positive_cosines: Values) -> float:
    """Return the mean squared distance of positive pairs, 0 (the same point) to 4 (opposite points).

    Source: Wang and Isola 2020 (arXiv:2005.10242), with their exponent 2. On the unit sphere it is 2 - 2 cosine.
    """
    return float(np.mean(2 - 2 * positive_cosines))


def uniformity(vectors: Vectors) -> float:
    """Return log mean exp(-2 d^2) over the pairs of different rows (n, dim), n > 1; lower is more even, at most 0.

    Source: Wang and Isola 2020 (arXiv:2005.10242). d is the distance of the unit rows.
    """
    rows = unit_rows(vectors)
    total = 0.0
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for other in range(start, len(rows), BLOCK):
            squared = np.maximum(2 - 2 * block @ rows[other : other + BLOCK].T, 0)
            # A block with itself has each pair twice, and each row with itself, which counts exp(0).
            own = np.exp(-T * squared).sum()
            total += (own - len(block)) / 2 if other == start else own
    return float(np.log(total / (len(rows) * (len(rows) - 1) / 2)))


def centroid(vectors: Vectors) -> Values:
    """Return the mean of the unit rows, (dim,)."""
    blocks: Iterator[Values] = (unit_rows(vectors[start : start + BLOCK]) for start in range(0, len(vectors), BLOCK))
    mean: Values = np.sum([block.sum(axis=0) for block in blocks], axis=0) / len(vectors)
    return mean


def modality_gap(photos: Vectors, texts: Vectors) -> float:
    """Return the distance of the centroids of photos and texts, 0 to 2 (Liang et al. 2022, arXiv:2203.02053)."""
    return float(np.linalg.norm(centroid(photos) - centroid(texts)))


def skewness(counts: Vectors) -> float | None:
    """Return the third standardised moment of the counts; None if all are equal.

    Of k-occurrences, how often a product is among the first k of a query, it measures hubness (Radovanovic, Nanopoulos
    and Ivanovic 2010, JMLR 11).
    """
    centred = counts - np.mean(counts)
    deviation = float(np.sqrt(np.mean(centred**2)))
    return None if deviation == 0 else float(np.mean(centred**3)) / deviation**3


def chance_of_hubs(num_queries: int, num_products: int, k: int) -> tuple[float, float]:
    """Return the skewness of k-occurrences and the share of products never found if each list has k random products.

    A product's k-occurrence is then binomial, of `num_queries` draws with probability k / num_products (below 1).

    >>> skewness, never = chance_of_hubs(2, 4, 2)
    >>> skewness, never
    (0.0, 0.25)
    """
    share = k / num_products
    spread = num_queries * share * (1 - share)
    return (1 - 2 * share) / float(np.sqrt(spread)), (1 - share) ** num_queries


def negative_pairs(positives: Positions, num_products: int, most: int, seed: int) -> tuple[Integers, Integers]:
    """Return query and product of pairs that are no positive ones: all, or about `most` drawn at random.

    Drawn pairs may repeat, so their mean and their histogram are those of all negatives up to the sample's noise.
    """
    total = len(positives) * num_products
    pairs = np.arange(total) if total <= most else np.random.default_rng(seed).integers(0, total, most)
    right = np.repeat(np.arange(len(positives)), positives.counts()) * num_products + positives.indices
    pairs = pairs[~np.isin(pairs, right)]
    return pairs // num_products, pairs % num_products


@dataclass(frozen=True)
class Plane:
    """Coordinates (n, 2) of vectors, and the share of their variance that both axes have together."""

    points: Values
    explained: float


def principal_plane(vectors: Values) -> Plane:
    """Return the first two principal components of rows (n, dim), n > 1; of each, the largest loading is positive."""
    centred = vectors - vectors.mean(axis=0)
    spectrum, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, ::-1][:, :2]
    two = two * np.sign(two[np.abs(two).argmax(axis=0), np.arange(two.shape[1])])
    points = np.zeros((len(vectors), 2))
    points[:, : two.shape[1]] = centred @ two
    total = float(spectrum.clip(min=0).sum())
    return Plane(points, float(spectrum[::-1][:2].clip(min=0).sum()) / total if total > 0 else 0.0)

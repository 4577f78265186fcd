"""Scores of the judged products of each judged query, by one fold's model: what the thumbs of the search page measure.

A judgement is about a query and a product, whichever model found the product, so every model is measured by all.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.evaluation.judged import JudgedQuery
from pipeline_lib.retrieval.gallery_vectors import NO_EMBEDDINGS, gallery_vectors, open_gallery
from pipeline_lib.serving.judgements import read_judgements
from pipeline_lib.serving.text_embedder import TextEmbedder

# Queries that are embedded at a time.
BLOCK = 256
# Query -> product -> grade.
Grades = dict[str, dict[str, int]]


@dataclass(frozen=True)
class JudgedVectors:
    """Vectors of the judged products that a gallery has, by product id, and the fingerprint of their model."""

    row_of: dict[str, int]
    vectors: NDArray[np.float32]
    model: str

    def known(self, grades: dict[str, int]) -> dict[str, int]:
        """Return the grades of products that the gallery has."""
        return {key: grade for key, grade in grades.items() if key in self.row_of}


def read_grades(folder: Path) -> Grades:
    """Return the grades that stand, from all .csv files of a folder: the last line of a query and a product counts.

    Lines of several files are merged by their times. Raises ValueError without a file, or for a line that is none.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise ValueError(
            f"{folder}: no judgements to measure; give thumbs up and down on the page of `vitrine serve`, or set "
            "plan.judged to []"
        )
    last: dict[tuple[str, str], int | None] = {}
    for one in heapq.merge(*map(read_judgements, files), key=lambda judgement: judgement.time):
        last[one.query, one.product_id] = one.grade
    grades: Grades = {}
    for (query, product_id), grade in sorted(last.items()):
        if grade is not None:
            grades.setdefault(query, {})[product_id] = grade
    return grades


def read_judged_vectors(gallery: Path, grades: Grades, photo_weight: float) -> JudgedVectors:
    """Return the vectors of the judged products, as an index has them; ValueError for a gallery without embeddings."""
    stores = open_gallery(gallery)
    if stores is None:
        raise ValueError(f"{gallery}: {NO_EMBEDDINGS}, or set plan.judged to []")
    judged = {product_id for products in grades.values() for product_id in products}
    ids, vectors = gallery_vectors(*stores, photo_weight, judged)
    return JudgedVectors({key: row for row, key in enumerate(ids)}, vectors, stores.photos.header.encoder)


def score_judged(grades: Grades, products: JudgedVectors, embedder: TextEmbedder) -> Iterator[JudgedQuery]:
    """Yield the scores of the judged products of each query that has one in the gallery, by its text.

    Raises ValueError if another model embedded the gallery.
    """
    if embedder.fingerprint != products.model:
        raise ValueError(
            f"the gallery was embedded by model {products.model}, the queries by {embedder.fingerprint}; run `dvc "
            "repro`"
        )
    known = {query: found for query, own in grades.items() if (found := products.known(own))}
    texts = list(known)
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        for query, vector in zip(block, embedder.embed(block).astype(np.float64), strict=True):
            own = known[query]
            rows = [products.row_of[key] for key in own]
            # Row by row, so that equal vectors have equal scores: a matrix product may round them differently.
            scores = (products.vectors[rows] * vector).sum(axis=1)
            yield JudgedQuery(query, [*own], scores, np.array([*own.values()], np.float64))

"""Checks a prediction file of MUGE as its judges would, before it is sent, and scores it where the answers are known.

Every fault is told as one line with file, row, value and what is wrong: a query without a line, a list of another
length, a number twice, anything that is no number, an image that is not in the gallery.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pipeline_lib.artifacts.schemas import PREDICTION_DEPTH, PREDICTION_KEYS
from pipeline_lib.datasets.image_tsv import list_tsv_images
from pipeline_lib.datasets.jsonl import Object, read_objects, whole_number, whole_numbers
from pipeline_lib.datasets.muge import images_of, read_texts
from pipeline_lib.metrics.ranking import CUTOFFS, rank_figures

Predictions = dict[int, list[int]]


def check_file(path: Path, queries: Path) -> str:
    """Return what was checked and, where the queries have answers, the score; ValueError for the first fault."""
    for file in (path, queries):
        if not file.is_file():
            raise ValueError(f"{file}: no such file")
    asked = {query_id: set(answers) for _, query_id, _, answers in read_texts(queries)}
    images = images_of(queries)
    if not images.is_file():
        raise ValueError(f"{images}: no such file; the images must lie beside {queries.name}")
    gallery = set(list_tsv_images(images)["image_id"].to_list())
    predictions = read_predictions(path, asked, gallery)
    told = f"{path}: {len(predictions)} queries, {PREDICTION_DEPTH} images of {len(gallery)} each: well formed"
    answered = {query_id: answers for query_id, answers in asked.items() if answers}
    if not answered:
        return f"{told}; {queries.name} has no answers to score it by"
    figures = score(predictions, answered)
    written = ", ".join(f"{name} {value * 100:.2f} %" for name, value in figures.items())
    return f"{told}; over {len(answered)} answered queries {written}"


def read_predictions(path: Path, asked: Collection[int], gallery: Collection[int]) -> Predictions:
    """Return each query's images, best first; ValueError for the first fault."""
    found: Predictions = {}
    for row, line in read_objects(path):
        query, items = next((keys for keys in PREDICTION_KEYS.values() if keys[0] in line), PREDICTION_KEYS["muge"])
        query_id = whole_number(path, row, line, query)
        if query_id not in asked:
            raise ValueError(f"{path}: row {row}: {query} = {query_id} is not among the {len(asked)} queries")
        if query_id in found:
            raise ValueError(f"{path}: row {row}: {query} = {query_id} has a line already; write one a query")
        found[query_id] = _checked(path, row, line, items, gallery)
    missing = [query_id for query_id in asked if query_id not in found]
    if missing:
        raise ValueError(f"{path}: {len(missing)} of {len(asked)} queries have no line, the first is {missing[0]}")
    return found


def score(predictions: Predictions, answers: dict[int, set[int]]) -> dict[str, float]:
    """Return R@1, R@5, R@10 and MeanRecall over the queries of `answers`: a hit is any answer among the first k."""
    ranks = [
        next((place for place, image in enumerate(predictions[query_id], start=1) if image in right), np.inf)
        for query_id, right in answers.items()
    ]
    figures = rank_figures(np.array(ranks))
    return {name: figures[name] for name in (*(f"R@{k}" for k in CUTOFFS), "MeanRecall")}


def _checked(path: Path, row: int, line: Object, items: str, gallery: Collection[int]) -> list[int]:
    images = whole_numbers(path, row, line, items)
    if len(images) != PREDICTION_DEPTH:
        raise ValueError(f"{path}: row {row}: {items} holds {len(images)} images; write {PREDICTION_DEPTH}, best first")
    twice = next((image for place, image in enumerate(images) if image in images[:place]), None)
    if twice is not None:
        raise ValueError(f"{path}: row {row}: {items} names {twice} twice; write {PREDICTION_DEPTH} different images")
    unknown = next((image for image in images if image not in gallery), None)
    if unknown is not None:
        raise ValueError(f"{path}: row {row}: {items}: {unknown} is not among the {len(gallery)} images of the split")
    return images

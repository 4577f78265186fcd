"""Checks a prediction file of MUGE as its judges do, before it is submitted, and scores it if the answers are known.

The first fault is one line with file, row, value and reason: a query without a line, a list of another length, a
duplicate, a value that is not a number, an image that is not in the gallery.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pipeline_lib.artifacts.schemas import PREDICTION_DEPTH, PREDICTION_KEYS
from pipeline_lib.cli.score_line import score_line
from pipeline_lib.datasets.image_tsv import list_tsv_images
from pipeline_lib.datasets.jsonl import Object, read_integer, read_integers, read_objects
from pipeline_lib.datasets.muge import images_of, read_texts
from pipeline_lib.metrics.ranking import CUTOFFS, rank_figures
from pipeline_lib.metrics.tied_ranks import TiedRanks, random_order, untied

NOT_LISTED = PREDICTION_DEPTH + 1  # no hit at any cutoff
Predictions = dict[int, list[int]]


def check_file(path: Path, queries: Path) -> str:
    """Return what was checked and, if the queries have answers, the score; ValueError for the first fault."""
    for file in (path, queries):
        if not file.is_file():
            raise ValueError(f"{file}: no such file")
    if queries.suffix == ".json":
        from pipeline_lib.cli.composed_prediction_file import check_composed_file

        return check_composed_file(path, queries)
    answers = {query_id: set(image_ids) for _, query_id, _, image_ids in read_texts(queries)}
    images = images_of(queries)
    if not images.is_file():
        raise ValueError(f"{images}: no such file; put the images beside {queries.name}")
    gallery = set(map(int, list_tsv_images(images)["image_id"]))
    predictions = read_predictions(path, answers, gallery)
    summary = f"{path}: {len(predictions)} queries, {PREDICTION_DEPTH} images of {len(gallery)} each: well formed"
    answered = {query_id: image_ids for query_id, image_ids in answers.items() if image_ids}
    if not answered:
        return f"{summary}; {queries.name} has no answers to score it by"
    written = score_line(score(predictions, answered), chance_score(answered, gallery))
    return f"{summary}; over {len(answered)} answered queries {written}"


def read_predictions(path: Path, query_ids: Collection[int], gallery: Collection[int]) -> Predictions:
    """Return each query's images, best first; ValueError for the first fault."""
    predictions: Predictions = {}
    for row, line in read_objects(path):
        query, items = next((keys for keys in PREDICTION_KEYS.values() if keys[0] in line), PREDICTION_KEYS["muge"])
        query_id = read_integer(path, row, line, query)
        if query_id not in query_ids:
            raise ValueError(f"{path}: row {row}: {query} = {query_id} is not among the {len(query_ids)} queries")
        if query_id in predictions:
            raise ValueError(f"{path}: row {row}: {query} = {query_id} has a line already; write one a query")
        predictions[query_id] = _checked_images(path, row, line, items, gallery)
    missing = [query_id for query_id in query_ids if query_id not in predictions]
    if missing:
        raise ValueError(f"{path}: {len(missing)} of {len(query_ids)} queries have no line, the first is {missing[0]}")
    return predictions


def score(predictions: Predictions, answers: dict[int, set[int]]) -> dict[str, float]:
    """Return R@1, R@5, R@10 and MeanRecall over the queries of `answers`: a hit is any answer among the first k."""
    ranks = [
        next((rank for rank, image in enumerate(predictions[query_id], start=1) if image in image_ids), NOT_LISTED)
        for query_id, image_ids in answers.items()
    ]
    return _shares(untied(np.array(ranks)))


def chance_score(answers: dict[int, set[int]], gallery: Collection[int]) -> dict[str, float]:
    """Return the figures of `score` for a random order of the gallery."""
    listed = set(gallery)
    right = np.array([len(image_ids & listed) for image_ids in answers.values()])
    return _shares(random_order(np.full(len(right), len(gallery)), right))


def _shares(ranks: TiedRanks) -> dict[str, float]:
    figures = rank_figures(ranks)
    return {name: figures[name] for name in (*(f"R@{k}" for k in CUTOFFS), "MeanRecall")}


def _checked_images(path: Path, row: int, line: Object, items: str, gallery: Collection[int]) -> list[int]:
    images = read_integers(path, row, line, items)
    if len(images) != PREDICTION_DEPTH:
        raise ValueError(f"{path}: row {row}: {items} has {len(images)} images; write {PREDICTION_DEPTH}, best first")
    duplicate = next((image for rank, image in enumerate(images) if image in images[:rank]), None)
    if duplicate is not None:
        raise ValueError(
            f"{path}: row {row}: {items} names {duplicate} twice; write {PREDICTION_DEPTH} different images"
        )
    unknown = next((image for image in images if image not in gallery), None)
    if unknown is not None:
        raise ValueError(f"{path}: row {row}: {items}: {unknown} is not among the {len(gallery)} images of the split")
    return images

"""Checks a prediction file of CIRR or CIRCO as its server does, and scores it if the answers are known.

The queries file gives the benchmark: cap.rc2.*.json of CIRR or an annotations file of CIRCO. The gallery is checked if
the file that lists it is beside the queries or where the benchmark's archives put it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline_lib.artifacts.messages import kind_of, show
from pipeline_lib.artifacts.schemas import CIRCO_DEPTH, CIRR_DEPTHS, CIRR_VERSION, COMPOSED_PRECISIONS
from pipeline_lib.cli.score_line import score_line
from pipeline_lib.datasets.circo import ANNOTATIONS, circo_query, listed_images
from pipeline_lib.datasets.cirr import CAPTIONS, PICTURES, cirr_query, list_names
from pipeline_lib.datasets.composed_queries import ComposedRow
from pipeline_lib.datasets.json_file import find_file, load_unique_json, read_entries
from pipeline_lib.datasets.jsonl import Object
from pipeline_lib.metrics.composed import average_precisions, chance_precisions
from pipeline_lib.metrics.tied_ranks import random_order

Figures = dict[str, float]
Queries = dict[str, ComposedRow]
MAX_NAMED = 3
# Name of a published queries file -> its number of queries.
PUBLISHED = {"cap.rc2.val.json": 4181, "cap.rc2.test1.json": 4148, "val.json": 220, "test.json": 800}
NUMBERED = "test.json"  # CIRCO's, whose queries are "0" to "799"
# Metric of a file of CIRR -> the name of its figures and their cut-offs.
CIRR_CUTOFFS = {"recall": ("R", (1, 5, 10, 50)), "recall_subset": ("R_subset", (1, 2, 3))}


@dataclass(frozen=True)
class Form:
    """What a server wants of each list: its length, the type of its items, and the gallery (None = not known)."""

    name: str
    depth: int
    item: type
    gallery: Collection[str] | None

    def fault(self, items: Any) -> str:
        """Return what is wrong with the list of one query, empty for nothing."""
        if not isinstance(items, list):
            return f"{show(items)} is not a list; write {self.depth}, best first"
        if len(items) != self.depth:
            return f"{len(items)} items; write exactly {self.depth}, best first"
        wrong = next((one for one in items if type(one) is not self.item), None)
        if wrong is not None:
            return f"{show(wrong)} is not {'a whole number' if self.item is int else 'a name'}"
        if len(set(items)) < len(items):
            return f"{next(one for one in items if items.count(one) > 1)!r} is listed twice"
        unlisted = next((one for one in items if self.gallery is not None and str(one) not in self.gallery), None)
        return "" if unlisted is None else f"{unlisted!r} is not in the gallery of {len(self.gallery or ())} images"


class Score(NamedTuple):
    """Figures of a file by name, empty without answers, and those of a random order, empty without a gallery."""

    figures: Figures
    chance: Figures


def check_composed_file(path: Path, queries: Path) -> str:
    """Return what was checked and, if the queries have answers, the score; ValueError for the first fault.

    A second line is a note on queries that are not those of the published split, whose server refuses the file.
    """
    entries = read_entries(queries)
    key = next((key for key in BENCHMARKS if key in entries[0][1]), None)
    if key is None:
        raise ValueError(f"{queries}: neither a caption file of CIRR nor an annotations file of CIRCO")
    content = load_unique_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {kind_of(content)}, not an object of lists by query")
    read, check, split = BENCHMARKS[key]
    rows = [read(queries, split, row, entry) for row, entry in entries]
    by_key = {row.query_id.removeprefix(f"{split}-"): row for row in rows}
    form, score = check(path, queries, by_key, content)
    note = _published_note(queries, by_key)
    gallery = "not checked against the gallery" if form.gallery is None else f"of {len(form.gallery)} images"
    summary = f"{path}: {form.name}, {len(rows)} queries, {form.depth} items each, {gallery}: well formed"
    if not score.figures:
        return f"{summary}; {queries.name} has no answers to score it by{note}"
    return f"{summary}; {score_line(*score)}{note}"


def _published_note(queries: Path, rows: Queries) -> str:
    """Return a line if a queries file has the name of a published one but not its queries, else an empty text."""
    expected = PUBLISHED.get(queries.name)
    if expected is not None and len(rows) != expected:
        fault = f"has {len(rows):,} queries, the published one {expected:,}"
    elif queries.name == NUMBERED and rows.keys() != set(map(str, range(PUBLISHED[NUMBERED]))):
        fault = f'has other queries than the published "0" to "{PUBLISHED[NUMBERED] - 1}"'
    else:
        return ""
    return f"\nnote: {queries.name} {fault}; the server refuses a file for other queries than its own"


def _check_cirr(path: Path, queries: Path, rows: Queries, content: Object) -> tuple[Form, Score]:
    metric, version = content.get("metric"), content.get("version")
    if version != CIRR_VERSION:
        raise ValueError(f"{path}: version = {show(version)}; write {CIRR_VERSION!r}")
    if not isinstance(metric, str) or metric not in CIRR_DEPTHS:
        raise ValueError(f"{path}: metric = {show(metric)}; write {' or '.join(map(repr, CIRR_DEPTHS))}")
    listing = find_file(_root_of(queries, CAPTIONS), f"split{queries.name.removeprefix('cap')}", PICTURES)
    gallery = None if listing is None else list_names(listing).keys()
    form = Form(f"CIRR {metric}", CIRR_DEPTHS[metric], str, gallery)
    lists = {key: value for key, value in content.items() if key not in ("metric", "version")}
    _check_lists(path, form, rows, lists)
    for key, names in lists.items():
        if rows[key].reference in names:
            raise ValueError(f"{path}: query {key!r}: its reference {rows[key].reference!r} is listed; leave it out")
        outside = next((name for name in names if name not in rows[key].subset), None)
        if metric == "recall_subset" and outside is not None:
            raise ValueError(f"{path}: query {key!r}: {outside!r} is not in its subset `img_set`")
    prefix, cutoffs = CIRR_CUTOFFS[metric]
    figures = _recalls(prefix, rows, lists, cutoffs)
    if metric == "recall" and gallery is None:
        return form, Score(figures, {})

    def candidates(row: ComposedRow) -> frozenset[str]:
        listed = row.subset if metric == "recall_subset" else gallery or ()
        return frozenset(listed) - {row.reference}

    return form, Score(figures, _recall_chance(prefix, rows, candidates, cutoffs))


def _root_of(queries: Path, folders: Sequence[str]) -> Path:
    """Return the data root that a file of queries lies in, itself or in one of the benchmark's folders."""
    names = {Path(folder).name for folder in folders}
    return queries.parent.parent if queries.parent.name in names else queries.parent


def _check_circo(path: Path, queries: Path, rows: Queries, content: Object) -> tuple[Form, Score]:
    listed = listed_images(_root_of(queries, ANNOTATIONS))
    gallery = None if listed is None else frozenset(listed)
    form = Form("CIRCO", CIRCO_DEPTH, int, gallery)
    _check_lists(path, form, rows, content)
    lists = {key: [str(item) for item in items] for key, items in content.items()}
    answered = {key: row for key, row in rows.items() if row.answers}
    if not answered:
        return form, Score({}, {})
    figures = _mean_precisions([_precisions(lists[key], list(row.answers)) for key, row in answered.items()])
    figures |= _recalls("R", rows, lists, COMPOSED_PRECISIONS)
    if gallery is None:
        return form, Score(figures, {})
    sizes = [len(row.answers) for row in answered.values()]
    chance = _mean_precisions([chance_precisions(size, len(gallery), COMPOSED_PRECISIONS) for size in sizes])
    return form, Score(figures, chance | _recall_chance("R", rows, lambda _: gallery, COMPOSED_PRECISIONS))


def _check_lists(path: Path, form: Form, rows: Queries, lists: Object) -> None:
    """Raise ValueError for the first query that is unknown or missing, or whose list has a fault."""
    unknown = next((key for key in lists if key not in rows), None)
    if unknown is not None:
        raise ValueError(f"{path}: {unknown!r} is not among the {len(rows)} queries")
    missing = [key for key in rows if key not in lists]
    if missing:
        named = ", ".join(missing[:MAX_NAMED])
        raise ValueError(f"{path}: {len(missing)} of {len(rows)} queries are missing, the first: {named}")
    for key, items in lists.items():
        if fault := form.fault(items):
            raise ValueError(f"{path}: query {key!r}: {fault}")


def _recalls(name: str, rows: Queries, lists: dict[str, list[str]], cutoffs: Sequence[int]) -> Figures:
    """Return {name}@k over the queries with answers: a hit is a target among the first k."""
    targets = {key: set(row.targets()) for key, row in rows.items() if row.answers}
    if not targets:
        return {}
    return {
        f"{name}@{k}": float(np.mean([bool(own & set(lists[key][:k])) for key, own in targets.items()]))
        for k in cutoffs
    }


def _recall_chance(
    name: str, rows: Queries, candidates: Callable[[ComposedRow], Collection[str]], cutoffs: Sequence[int]
) -> Figures:
    """Return the figures of `_recalls` for a random order of the candidates of each query."""
    sides = [(own, row) for row in rows.values() if row.answers and (own := candidates(row))]
    if not sides:
        return {}
    right = np.array([sum(target in own for target in row.targets()) for own, row in sides])
    ranks = random_order(np.array([len(own) for own, _ in sides]), right)
    return {f"{name}@{k}": float(ranks.hits(k).mean()) for k in cutoffs}


def _mean_precisions(precisions: list[list[float]]) -> Figures:
    """Return mAP@K from AP@K of each query."""
    values = np.mean(precisions, axis=0)
    return {f"mAP@{k}": float(value) for k, value in zip(COMPOSED_PRECISIONS, values, strict=True)}


def _precisions(items: list[str], truths: list[str]) -> list[float]:
    """Return AP@K of a list; ground truths that are not in it come after it."""
    scores, hit = -np.arange(len(items), dtype=np.float64), np.isin(items, truths)
    unlisted = np.full(len(truths) - int(hit.sum()), -1.0 - len(items))
    return average_precisions(np.concatenate([scores[hit], unlisted]), np.sort(scores[~hit]), COMPOSED_PRECISIONS)


Read = Callable[[Path, str, int, Object], ComposedRow]
Check = Callable[[Path, Path, Queries, Object], tuple[Form, Score]]
# Key of the entries of a queries file -> how to read one, the check of its predictions, a split that needs no target.
BENCHMARKS: dict[str, tuple[Read, Check, str]] = {
    "pairid": (cirr_query, _check_cirr, "test1"),
    "reference_img_id": (circo_query, _check_circo, "test"),
}

"""Writes rankings of composed queries in the form of each benchmark's server: JSON with a list of products a query.

CIRR has a file of the best 50 of the gallery and one of the best 3 of each subset, both without the reference; CIRCO
one of the best 50. The readers name queries `<split>-<number>`; the files have the numbers.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.schemas import CIRCO_DEPTH, CIRR_DEPTHS, CIRR_VERSION

NUMBERED = re.compile(r"(val|test1|test)-(\d+)")


class Written(NamedTuple):
    """The files that were written, and notes about those that could not be."""

    files: list[Path]
    notes: list[str]


def write_cirr(rankings: dict[str, pl.DataFrame], out: Path) -> Written:
    """Write `{split}_{metric}.json` for the metrics recall and recall_subset: pair id -> names, version and metric.

    `rankings` has RANKINGS_SCHEMA rows for both. A split with a query of too few products is left out with a note.
    """
    parts = [
        _write("cirr", rankings[metric], depth, partial(_cirr_file, out, metric))
        for metric, depth in CIRR_DEPTHS.items()
    ]
    return Written([file for part in parts for file in part.files], [note for part in parts for note in part.notes])


def write_circo(rankings: dict[str, pl.DataFrame], out: Path) -> Written:
    """Write `{split}_predictions.json`: query id -> numbers of images, of RANKINGS_SCHEMA rows under `recall`."""
    return _write("circo", rankings["recall"], CIRCO_DEPTH, partial(_circo_file, out))


# Value of composed.protocol that has a server -> writer. Contract: RANKINGS_SCHEMA rows of complete galleries as
# `recall`, and within subsets as `recall_subset`, the output folder -> the files.
COMPOSED_PREDICTIONS: dict[str, Callable[[dict[str, pl.DataFrame], Path], Written]] = {
    "cirr": write_cirr,
    "circo": write_circo,
}


def _write(
    protocol: str, rankings: pl.DataFrame, depth: int, write: Callable[[str, dict[int, list[str]]], Path]
) -> Written:
    """Write one file a split, with `write(split, products of each query by its number)`."""
    best = rankings.filter(pl.col("rank") <= depth).sort("rank")
    splits: dict[str, dict[int, list[str]]] = {}
    notes: dict[str, str] = {}
    for query_id, product_ids in best.group_by("query_id", maintain_order=True).agg("product_id").iter_rows():
        match = NUMBERED.fullmatch(query_id)
        if match is None:
            note = f"the query {query_id!r} is not <split>-<number>, as data.reader = {protocol} names them"
            return Written([], [f"no prediction file: {note}"])
        split = match[1]
        splits.setdefault(split, {})[int(match[2])] = product_ids
        if len(product_ids) < depth:
            notes[split] = (
                f"no prediction file for {split}: query {query_id!r} has {len(product_ids)} ranked products, and "
                f"{protocol} needs {depth}"
            )
    files = [write(split, dict(sorted(lists.items()))) for split, lists in splits.items() if split not in notes]
    return Written(files, list(notes.values()))


def _cirr_file(out: Path, metric: str, split: str, lists: dict[int, list[str]]) -> Path:
    path = out / f"{split}_{metric}.json"
    named = {str(pair): product_ids for pair, product_ids in lists.items()}
    write_json(path, {"version": CIRR_VERSION, "metric": metric} | named)
    return path


def _circo_file(out: Path, split: str, lists: dict[int, list[str]]) -> Path:
    path = out / f"{split}_predictions.json"
    # The keys in the order of their numbers, which sorted strings would not have.
    body = ",\n".join(f' "{number}": [{", ".join(product_ids)}]' for number, product_ids in lists.items())
    path.write_text("{\n" + body + "\n}\n", encoding="utf-8")
    return path


def write_composed_predictions(rankings: Mapping[str, dict[str, pl.DataFrame]], protocol: str, out: Path) -> list[str]:
    """Write the files of a protocol's server for each kind of model into `out`/composed/KIND; return notes.

    `rankings` has for each kind what the writers take. A protocol without a server, and queries that no server has,
    give no file.
    """
    notes = []
    for kind, own in rankings.items() if protocol in COMPOSED_PREDICTIONS else ():
        if not own["recall"]["query_id"].str.contains(f"^(?:{NUMBERED.pattern})$").any():
            return [f"no prediction file of {protocol}: the queries are not those of its server"]
        folder = out / "composed" / kind
        folder.mkdir(parents=True)
        notes += [f"{kind}: {note}" for note in COMPOSED_PREDICTIONS[protocol](own, folder).notes]
    return notes

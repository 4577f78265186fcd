"""Reads metrics.json and intervals.json: what the headline takes from them has the shape that evaluate writes.

A tree of another shape, of another version or edited by hand, is one line with the file and the keys on the way.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import damaged, read_object
from pipeline_lib.report.headline import CLASSIFICATION, DIRECTIONS, JUDGED, RETRIEVAL, SPLITS, TOTALS, Tree

# Keys of mappings, keys whose entries are mappings, and those of numbers; so are R@1, mAP@10 and what is in `chance`.
BRANCHES = {*SPLITS, *DIRECTIONS, "retrieval", "classification", "composed", "judged", "seen", "chance", "slices"}
GROUPS = ("composed", "judged", "seen", "slices")
FIGURES = {*RETRIEVAL, *CLASSIFICATION, *JUDGED, *TOTALS, "mean", "trained_on", "products", "num_unlearned"}


def read_metric_files(root: Path) -> tuple[Tree, Tree]:
    """Return a project's figures and their intervals; ValueError for a damaged file, OSError for a missing one."""
    metrics, intervals = read_object(root / paths.METRICS), read_object(root / paths.INTERVALS)
    for keys, value in _nodes(metrics):
        _check(root / paths.METRICS, keys, value, _is_number(value), "a number")
        for key in _required(keys):
            if not isinstance(value, Mapping) or key not in value:
                raise damaged(root / paths.METRICS, f"{'.'.join(keys)} has no {key}")
    for keys, value in _nodes(intervals):
        pair = isinstance(value, list) and len(value) == 2 and all(_is_number(end) for end in value)
        _check(root / paths.INTERVALS, keys, value, pair, "a list of two numbers")
    return metrics, intervals


def _check(path: Path, keys: tuple[str, ...], value: object, is_figure: bool, figure: str) -> None:
    """Raise ValueError if a value is no mapping or no figure where it must be one."""
    last, parent = keys[-1], keys[-2] if len(keys) > 1 else ""
    # `data` has numbers under such keys, too: the products of `classification`, the queries of `composed`.
    is_branch = "data" not in keys and (last in BRANCHES or parent in GROUPS)
    if is_branch and not isinstance(value, Mapping):
        raise damaged(path, f"{'.'.join(keys)} is no object")
    known = parent == "chance" or last in FIGURES or "@" in last
    if known and not is_branch and "data" not in keys and not is_figure:
        raise damaged(path, f"{'.'.join(keys)} is not {figure}")


def _required(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that the mapping under a path of keys must have."""
    match keys:
        case ("judged", _):
            return ("num_queries",)
        case ("seen", _):
            return ("trained_on", "products")
        case ("composed", _, _):
            return ("chance", "num_queries", "num_gallery")
        case (_, "retrieval", direction) if direction in DIRECTIONS:
            return ("num_gallery",)
    return ()


def _nodes(tree: Tree, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in tree.items():
        yield (*keys, key), value
        if isinstance(value, Mapping):
            yield from _nodes(value, (*keys, key))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

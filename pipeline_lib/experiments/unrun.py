"""Settings that were changed after the run whose figures reports/metrics.json has, so that they do not belong together.

dvc.lock has the settings with which each stage ran last. Those count of the stages that metrics.json follows from: an
edited setting of the report, or of a fold that is no longer in the plan, changes no figure.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.overrides import ABSENT, differences
from pipeline_lib.params.section import parse_params, pick

PARAMS, PIPELINE, LOCK = "params.yaml", "dvc.yaml", "dvc.lock"


def changed_settings(params: Mapping[str, Any], pipeline: Mapping[str, Any], lock: Mapping[str, Any]) -> list[str]:
    """Return the keys of params.yaml that differ from those of the run behind metrics.json; none if no run is known.

    `pipeline` and `lock` are the contents of dvc.yaml and dvc.lock.
    """
    recorded = _mapping(lock, "stages")
    stages = {name: _mapping(recorded, name) for name in planned_stages(pipeline, params) if name in recorded}
    changed: dict[str, None] = {}
    for name in _upstream(stages, paths.METRICS.as_posix()):
        for key, old in _mapping(_mapping(stages[name], "params"), PARAMS).items():
            changed |= dict.fromkeys(one.key for one in differences({key: old}, {key: _value(params, key)}))
    return list(changed)


def changes_of(read: Callable[[Path], bytes] = Path.read_bytes) -> list[str]:
    """Return `changed_settings` of the run whose files `read` gives, by default those of the working tree.

    None if one of the three is missing or damaged, as a lock that a killed DVC has cut: `vitrine doctor` names it.
    """
    try:
        params, pipeline, lock = (parse_params(read(Path(name)), name) for name in (PARAMS, PIPELINE, LOCK))
    except (FileNotFoundError, ValueError):
        return []
    return changed_settings(params, pipeline, lock)


def named(keys: list[str]) -> str:
    """Return the first keys, and how many there are besides.

    >>> named(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(keys[:3]) + f" and {len(keys) - 3} more" * (len(keys) > 3)


def planned_stages(pipeline: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the stages of dvc.yaml as DVC writes them, one for each combination of a matrix."""
    stages = _mapping(pipeline, "stages")
    for name in stages:
        if "matrix" not in _mapping(stages, name):
            yield name
            continue
        lists = [_items(key, value, params) for key, value in _mapping(stages[name], "matrix").items()]
        yield from (f"{name}@{'-'.join(items)}" for items in product(*lists))


def _items(key: str, value: Any, params: Mapping[str, Any]) -> list[str]:
    values = _value(params, value.removeprefix("${").removesuffix("}")) if isinstance(value, str) else value
    if not isinstance(values, list):
        return []
    return [f"{key}{number}" if isinstance(one, dict | list) else str(one) for number, one in enumerate(values)]


def _upstream(stages: Mapping[str, Any], out: str) -> list[str]:
    """Return the stages that an out follows from, the one that writes it first."""
    found = [name for name, stage in stages.items() if out in _paths(stage, "outs")]
    for name in found:  # it grows
        read = _paths(stages[name], "deps")
        found += [
            other
            for other, stage in stages.items()
            if other not in found and any(_share(path, written) for path in read for written in _paths(stage, "outs"))
        ]
    return found


def _paths(stage: Mapping[str, Any], kind: str) -> list[str]:
    return [one["path"] for one in stage.get(kind) or [] if isinstance(one, dict) and isinstance(one.get("path"), str)]


def _share(path: str, other: str) -> bool:
    """Return whether one path is the other, or lies in it."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping under a key; an empty one if there is none, as in a file that was cut."""
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _value(params: Mapping[str, Any], key: str) -> Any:
    try:
        return pick(dict(params), key)
    except ValueError:
        return ABSENT

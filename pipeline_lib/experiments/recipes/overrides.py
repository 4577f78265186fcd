"""Writes the difference of two params as DVC's `-S` overrides, which rewrite params.yaml in place with its comments.

Each leaf is one override in the grammar of Hydra that DVC reads: `key=value` for an existing key, `++key=value` for a
key that is added, `~key` for one that is removed. Strings are quoted, so that none is read as a number, a sweep or an
interpolation.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.experiments.next_run.changed_params import changed_copy, refused
from pipeline_lib.experiments.recipes.merging import Params
from pipeline_lib.params.section import load_params

ABSENT = "(absent)"
# Section that no cache depends on: two runs that differ in it alone have the same result.
UNTRACKED = "runtime"


class Difference(NamedTuple):
    """A leaf whose value differs between two params; ABSENT stands for a missing key."""

    key: str
    old: Any
    new: Any


def differences(old: Params, new: Params, prefix: str = "") -> list[Difference]:
    """Return the leaves that differ, in the order of the params; a list is one leaf."""
    changed = []
    for key in [*old, *(key for key in new if key not in old)]:
        path = f"{prefix}.{key}".lstrip(".")
        first, second = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(first, dict) and isinstance(second, dict):
            changed += differences(first, second, path)
        elif type(first) is not type(second) or first != second:
            changed.append(Difference(path, first, second))
    return changed


def overrides(old: Params, new: Params) -> list[str]:
    """Return the overrides that turn `old` into `new`."""
    return [_override(difference) for difference in differences(old, new)]


def apply(path: Path, old: Params, new: Params) -> None:
    """Rewrite a params file from `old`, its present content, to `new`, as `dvc exp run -S` does."""
    from dvc.utils.hydra import apply_overrides

    apply_overrides(path, overrides(old, new))


def changed(path: Path, settings: Sequence[str]) -> list[Params]:
    """Return the params of a file as `dvc exp run -S` changes them, one for each value of a sweep; the file stays.

    Raises ValueError for a setting that DVC refuses.
    """
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides
    from hydra.errors import HydraException

    own, found = to_path_overrides(settings).get(path.name, []), []
    try:
        is_sweep = any(one.is_sweep_override() for one in to_hydra_overrides(own))
        sweep = [one[path.name] for one in get_hydra_sweeps({path.name: own})] if is_sweep else [own]
    except HydraException as error:
        raise refused(own, error) from None
    for one in sweep:
        with changed_copy(one, path.parent) as copy:
            found.append(load_params(copy))
    return found


def _override(difference: Difference) -> str:
    key, old, new = difference
    if new is ABSENT:
        return f"~{key}"
    # Hydra merges a mapping into the present value; `++` replaces that value.
    added = "++" if old is ABSENT or isinstance(new, dict) else ""
    return f"{added}{key}={as_value(new)}"


def as_value(value: Any) -> str:
    """Write a value in Hydra's grammar.

    >>> as_value([{"epoch": 3, "tower": "text"}, None, True, 2e-5, "data/a:b"])
    "[{epoch:3,tower:'text'},null,true,2e-05,'data/a:b']"
    """
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(as_value(one) for one in value) + "]"
    if isinstance(value, str):
        return "'" + _escaped(value) + "'"
    return json.dumps(value)


def _escaped(text: str) -> str:
    if "${" in text:
        raise ValueError(f"{text!r}: ${{...}} would be read as an interpolation; write the value itself")
    tail = len(text) - len(text.rstrip("\\"))
    return text.replace("\\'", "\\\\'").replace("'", "\\'") + "\\" * tail

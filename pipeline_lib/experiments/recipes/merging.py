"""params.yaml with a recipe's patches on it, and what such a patch may not do: name an unknown key, or change nothing.

Mappings are merged key by key, lists and values replaced. The changes to an architecture are replaced whole, because
those of one tower mean nothing to another, and so are shares of teachers.
"""

import itertools
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.schema import FOLDER, TINY_PATCH, Patch, Recipe, lineage, read_recipe, read_yaml
from pipeline_lib.params.all_sections import check_all

Params = dict[str, Any]
# Mappings whose keys are an architecture's own, or the names of teachers.
TAUGHT = tuple(f"losses.{kind}_distillation.teachers" for kind in ("contrastive", "feature", "class"))
REPLACED = ("model.image.args", "model.text.config", *TAUGHT)


@dataclass(frozen=True)
class Cell:
    """One experiment of a recipe: its name, and params.yaml as it is for it."""

    name: str
    params: Params


def merge(params: Params, patch: Mapping[str, Any], prefix: str = "") -> Params:
    """Return params with a nested patch on them; neither is changed."""
    found = dict(params)
    for key, value in patch.items():
        path = f"{prefix}.{key}".lstrip(".")
        inner = found.get(key)
        nested = isinstance(value, Mapping) and isinstance(inner, dict) and path not in REPLACED
        found[key] = merge(inner or {}, value, path) if nested else deepcopy(value)
    return found


def nested(key: str, value: Any) -> Patch:
    """Return a patch of one dotted key.

    >>> nested("train.epochs", 3)
    {'train': {'epochs': 3}}
    """
    for part in reversed(key.split(".")):
        value = {part: value}
    patch: Patch = value
    return patch


def cells(name: str, params: Params, tiny: bool = False, folder: Path = FOLDER) -> list[Cell]:
    """Return the experiments of a recipe over params, checked; one, or one a cell of its grid.

    ValueError names the recipe's file and the key that is unknown, has a wrong value, or that all stays as it is.
    """
    recipe, files = read_recipe(name, folder), lineage(name, folder)
    merged = params
    for path, base in files:
        merged = merge(merged, base.params)
        _check(merged, path)
    merged = merge(merged, _start(recipe, tiny, folder))
    if merged == params and not recipe.grid:
        raise ValueError(f"{folder / name}.yaml changes nothing: params.yaml says all of it already")
    if tiny:
        merged = merge(merged, read_yaml(folder / TINY_PATCH))
        for _, base in files:
            merged = merge(merged, base.tiny)
    merged = merge(merged, nested("plan.features", [*merged["plan"]["features"], *_teachers(recipe, tiny, folder)]))
    found = []
    for values in itertools.product(*recipe.grid.values()):
        wanted = merged
        for key, value in zip(recipe.grid, values, strict=True):
            wanted = merge(wanted, nested(key, value))
        found.append(Cell("-".join([name, *(str(value) for value in values)]), wanted))
    for cell in found:
        _check(cell.params, folder / f"{name}.yaml")
    return found


def kept_folder(name: str, tiny: bool) -> Path:
    """Return where a recipe's kept models lie; those of a tiny run fit tiny towers alone."""
    return paths.STARTS / f"{name}{'-tiny' if tiny else ''}"


def _start(recipe: Recipe, tiny: bool, folder: Path) -> Patch:
    if recipe.starts_from is None:
        return {}
    read_recipe(recipe.starts_from, folder)
    return nested("train.init_from", kept_folder(recipe.starts_from, tiny).as_posix())


def _teachers(recipe: Recipe, tiny: bool, folder: Path) -> list[str]:
    """Return the names of the folders of data/starts that teach; ValueError for an unknown recipe."""
    for name in (*recipe.distilled_from, *recipe.published_teachers.values()):
        read_recipe(name, folder)
    published = recipe.published_teachers
    kept = [*recipe.distilled_from, *(published.values() if tiny else ())]
    return [kept_folder(name, tiny).name for name in kept] + ([] if tiny else list(published))


def _check(params: Params, path: Path) -> None:
    """Raise ValueError, said of the recipe's file, for what does not fit params.yaml's own rules."""
    try:
        check_all(params, Path("params.yaml"))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('params.yaml: ')}") from None

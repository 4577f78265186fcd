"""Merges a recipe's patches into params.yaml, and refuses a patch that names an unknown key or changes nothing.

Mappings are merged key by key; lists and values are replaced. Changes to an architecture are replaced as one value,
because the keys of one tower mean nothing to another. Shares of teachers are replaced in the same way. plan.search and
plan.judged follow a patch that changes plan.folds or plan.search alone.
"""

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.recipes.profiles import profile_patch
from pipeline_lib.experiments.recipes.schema import (
    FOLDER,
    TINY_PATCH,
    Patch,
    Profile,
    Recipe,
    lineage,
    read_recipe,
    read_yaml,
    recipe_path,
)
from pipeline_lib.params.all_sections import check_all, check_sections
from pipeline_lib.params.losses import LossesParams

Params = dict[str, Any]
# Mappings whose keys are an architecture's own, or the names of teachers.
OF_TEACHERS = tuple(
    f"losses.{name}.{key}"
    for name, field in LossesParams.model_fields.items()
    for key in ("teachers", "score")
    if isinstance(field.annotation, type) and key in field.annotation.model_fields
)
REPLACED = ("model.image.args", "model.text.config", *OF_TEACHERS)


@dataclass(frozen=True)
class Cell:
    """One experiment of a recipe: its name and its complete params."""

    name: str
    params: Params


def merge(params: Params, patch: Mapping[str, Any], prefix: str = "") -> Params:
    """Return params with a nested patch merged in; neither argument is changed."""
    merged = dict(params)
    for key, value in patch.items():
        path = f"{prefix}.{key}".lstrip(".")
        inner = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(inner, dict) and path not in REPLACED
        merged[key] = merge(inner or {}, value, path) if nested else deepcopy(value)
    return merged


def patched(params: Params, patch: Mapping[str, Any]) -> Params:
    """Return params with a patch merged in, without folds of plan.search and plan.judged that it no longer allows.

    A list that the patch names itself stays as it is. If no fold of plan.search is left, the first of plan.folds is.
    """
    merged, named = merge(params, patch), patch.get("plan")
    plan = merged.get("plan")
    if not isinstance(named, Mapping) or not isinstance(plan, dict):
        return merged
    plan = dict(plan)
    if not all(isinstance(plan.get(name), list) for name in ("folds", "search", "judged")):
        return merged  # a fault of params.yaml or of the recipe, which the check of all params reports
    if "folds" in named and "search" not in named and plan["search"]:
        plan["search"] = [fold for fold in plan["search"] if fold in plan["folds"]] or plan["folds"][:1]
    if {"folds", "search"} & named.keys() and "judged" not in named:
        plan["judged"] = [fold for fold in plan["judged"] if fold in plan["search"]]
    return merged | {"plan": plan}


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
    """Return the experiments of a recipe over params, checked: one, or one for each cell of its grid.

    Raises ValueError with the recipe's file for an unknown key, a wrong value, or a recipe that changes nothing.
    """
    recipe, files, file = read_recipe(name, folder), lineage(name, folder), recipe_path(name, folder)
    merged = params
    for path, base in files:
        merged = patched(merged, base.params)
        # What a file is based on may be half a setting: the weights' folder, say, of towers that the file names.
        _check(merged, path, check_all if path == file else check_sections)
    merged = merge(merged, _start(recipe, tiny, folder))
    if isinstance(recipe, Profile):
        merged = patched(merged, profile_patch(recipe, merged))
    if merged == params and not recipe.grid:
        raise ValueError(f"{file} changes nothing: params.yaml has all of its values already")
    if tiny:
        merged = patched(merged, read_yaml(folder / TINY_PATCH))
        for _, base in files:
            merged = patched(merged, base.tiny)
    merged = merge(merged, nested("plan.teachers", [*merged["plan"]["teachers"], *_teachers(recipe, tiny, folder)]))
    experiments = []
    for values in itertools.product(*recipe.grid.values()):
        patch: Patch = {}
        for key, value in zip(recipe.grid, values, strict=True):
            patch = merge(patch, nested(key, value))
        cell = patched(merged, patch)
        _check(cell, file)
        experiments.append(Cell("-".join([name, *(str(value) for value in values)]), cell))
    return experiments


def models_folder(name: str, tiny: bool) -> Path:
    """Return the folder of a recipe's saved models; those of tiny runs have their own, for they fit no other towers."""
    return paths.STARTS / f"{name}{'-tiny' if tiny else ''}"


def _start(recipe: Recipe, tiny: bool, folder: Path) -> Patch:
    if recipe.starts_from is None:
        return {}
    read_recipe(recipe.starts_from, folder)
    return nested("train.init_from", models_folder(recipe.starts_from, tiny).as_posix())


def _teachers(recipe: Recipe, tiny: bool, folder: Path) -> list[str]:
    """Return the names of the teachers' folders in data/starts; ValueError for an unknown recipe."""
    for name in (*recipe.distilled_from, *recipe.published_teachers.values()):
        read_recipe(name, folder)
    published = recipe.published_teachers
    saved = [*recipe.distilled_from, *(published.values() if tiny else ())]
    return [models_folder(name, tiny).name for name in saved] + ([] if tiny else list(published))


def _check(params: Params, path: Path, check: Callable[[Params, Path], None] = check_all) -> None:
    """Raise ValueError, which names the recipe's file, for params that break the rules of params.yaml."""
    try:
        check(params, Path("params.yaml"))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('params.yaml: ')}") from None

"""What a recipe is: one YAML file, a named experiment of the logs as a patch over params.yaml.

A recipe may build on another one (`based_on`), so that its own patch says just what its row of the log changes; what
several rows begin with, and is no row itself, lies in recipes/bases. `tiny` is a second patch, for `--tiny` alone.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline_lib.params.section import Keys

FOLDER = Path("recipes")
BASES = "bases"
TINY_PATCH = "tiny.yaml"
Patch = dict[str, Any]
Line = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\n]+$")]


class Base(Keys):
    """What several recipes begin with: patches, and the note that holds for all of them."""

    about: Line
    note: str = ""
    based_on: str | None = None
    params: Patch = Field(default_factory=dict)
    tiny: Patch = Field(default_factory=dict)


class Recipe(Base):
    """One experiment, or a grid of them.

    `row` is its name in LOGS.md where that is not the file's. `reported` has the log's figures with their unit, or the
    words it has instead. `grid` names values for dotted keys, one experiment a cell. `starts_from` is the recipe whose
    kept models it begins with, `distilled_from` are those whose kept models are its teachers.
    `published_teachers` are folders of data/starts that name public weights, each with the recipe whose kept models
    stand in for it in a tiny run.
    """

    log: Literal["A", "B", "C", "D", "E"]
    row: str | None = None
    reported: str | dict[str, Any]
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    starts_from: str | None = None
    distilled_from: list[str] = Field(default_factory=list)
    published_teachers: dict[str, str] = Field(default_factory=dict)

    def needs(self, tiny: bool) -> list[str]:
        """Return the recipes whose kept models this one reads."""
        stand_ins = self.published_teachers.values() if tiny else ()
        return [*([self.starts_from] if self.starts_from else []), *self.distilled_from, *stand_ins]

    @field_validator("reported")
    @classmethod
    def _has_unit(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not value or (isinstance(value, dict) and "unit" not in value):
            raise ValueError("write the log's words, or its figures with their `unit`")
        return value

    @field_validator("grid")
    @classmethod
    def _has_cells(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in value.items():
            if len(values) < 2 or len({str(one) for one in values}) < len(values):
                raise ValueError(f"{key} needs two values or more, each once; one value belongs in `params`")
        return value


KindT = TypeVar("KindT", bound=Base)


def recipe_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.name != TINY_PATCH)


def read_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """Return one recipe; ValueError for an unknown name or a file that is no recipe."""
    known = recipe_names(folder)
    if name not in known:
        raise ValueError(f"no recipe {name!r}; {_near(name, known)}")
    return _read(folder / f"{name}.yaml", Recipe)


def lineage(name: str, folder: Path = FOLDER) -> list[tuple[Path, Base]]:
    """Return the files that a recipe is made of, the first base first and its own last."""
    found: list[tuple[Path, Base]] = [(folder / f"{name}.yaml", read_recipe(name, folder))]
    while (base := found[0][1].based_on) is not None:
        kind: type[Base] = Recipe if base in recipe_names(folder) else Base
        path = folder / f"{base}.yaml" if kind is Recipe else folder / BASES / f"{base}.yaml"
        if path in [seen for seen, _ in found]:
            raise ValueError(f"{found[0][0]}: based_on = {base!r} comes back to itself")
        if not path.is_file():
            known = [*recipe_names(folder), *(found.stem for found in (folder / BASES).glob("*.yaml"))]
            raise ValueError(f"{found[0][0]}: based_on = {base!r} is neither a recipe nor a base; {_near(base, known)}")
        found.insert(0, (path, _read(path, kind)))
    return found


def read_yaml(path: Path) -> Patch:
    """Return a YAML mapping; ValueError if it is none."""
    try:
        loaded = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: expected a mapping, found {type(loaded).__name__}")
    return loaded


def _read(path: Path, kind: type[KindT]) -> KindT:
    try:
        return kind.model_validate(read_yaml(path))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        known = f"; known: {', '.join(kind.model_fields)}" if fault["type"] == "extra_forbidden" else ""
        raise ValueError(f"{path}: {key}: {fault['msg'][0].lower()}{fault['msg'][1:]}{known}") from None


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"near: {', '.join(near)}" if near else "`vitrine recipe list` names them all"

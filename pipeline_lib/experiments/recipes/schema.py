"""What a recipe is: one YAML file, a named experiment as a patch over params.yaml.

recipes/*.yaml are the experiments of the logs, recipes/profiles/*.yaml are intent profiles: settings for one purpose.
A recipe may build on another one (`based_on`), so that its own patch has only what differs. What several recipes share
without being an experiment is in recipes/bases. `tiny` is a second patch, for `--tiny` alone.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from pipeline_lib.params.section import Keys, parse_params

FOLDER = Path("recipes")
BASES = "bases"
PROFILES = "profiles"
TINY_PATCH = "tiny.yaml"
Patch = dict[str, Any]
Line = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\n]+$")]


class Base(Keys):
    """Patches, and the note that holds for every recipe based on them."""

    about: Line
    note: str = ""
    based_on: str | None = None
    params: Patch = Field(default_factory=dict)
    tiny: Patch = Field(default_factory=dict)


class Recipe(Base):
    """Settings that can be run: one experiment, or a grid of them.

    `grid` lists values for dotted keys, one experiment a cell. `starts_from` names the recipe whose saved models
    training starts from. `distilled_from` names the recipes whose saved models are the teachers.
    `published_teachers` maps folders of data/starts that name public weights to the recipe whose saved models replace
    them in a tiny run.
    """

    grid: dict[str, list[Any]] = Field(default_factory=dict)
    starts_from: str | None = None
    distilled_from: list[str] = Field(default_factory=list)
    published_teachers: dict[str, str] = Field(default_factory=dict)

    def needs(self, tiny: bool) -> list[str]:
        """Return the recipes whose saved models this one reads."""
        stand_ins = self.published_teachers.values() if tiny else ()
        return [*([self.starts_from] if self.starts_from else []), *self.distilled_from, *stand_ins]

    @field_validator("grid")
    @classmethod
    def _has_cells(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in value.items():
            if len(values) < 2 or len({str(one) for one in values}) < len(values):
                raise ValueError(f"{key} needs two values or more, each once; one value belongs in `params`")
        return value


class LogRecipe(Recipe):
    """An experiment of the logs.

    `row` is its name in LOGS.md if that differs from the file's. `reported` is the log's figures with their unit, or
    the log's words if it gives no figure.
    """

    log: Literal["A", "B", "C", "D", "E"]
    row: str | None = None
    reported: str | dict[str, Any]

    @field_validator("reported")
    @classmethod
    def _has_unit(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not value or (isinstance(value, dict) and "unit" not in value):
            raise ValueError("write the log's words, or its figures with their `unit`")
        return value


class Profile(Recipe):
    """An intent profile: settings for one purpose that fit any catalogue.

    A fixed list of folds or scales would fit one project alone, so these fields say how the lists of `plan` follow from
    the project's own params. `folds`: fold 0 alone, or all of split.num_folds. `scales`: the training image size
    alone, or that and a larger one. `store_trunk` stores the frozen towers' pooled features, and their tokens if a
    model of plan.composed reads them.
    """

    folds: Literal["first", "all"] | None = None
    scales: Literal["training", "several"] | None = None
    store_trunk: bool = False


KindT = TypeVar("KindT", bound=Base)


def recipe_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all recipes: the profiles, then the recipes of the logs, each sorted."""
    return [*profile_names(folder), *log_names(folder)]


def profile_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the intent profiles, sorted."""
    return sorted(path.stem for path in (folder / PROFILES).glob("*.yaml"))


def log_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the recipes of the logs, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.name != TINY_PATCH)


def recipe_path(name: str, folder: Path = FOLDER) -> Path:
    """Return the file of a recipe; ValueError for an unknown name."""
    if name in profile_names(folder):
        return folder / PROFILES / f"{name}.yaml"
    if name not in log_names(folder):
        raise ValueError(f"no recipe {name!r}; {_near(name, recipe_names(folder))}")
    return folder / f"{name}.yaml"


def read_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """Return one recipe, a Profile or a LogRecipe; ValueError for an unknown name or an invalid file."""
    path = recipe_path(name, folder)
    return _read(path, Profile if path.parent.name == PROFILES else LogRecipe)


def lineage(name: str, folder: Path = FOLDER) -> list[tuple[Path, Base]]:
    """Return the files that a recipe consists of: the first base first, its own file last."""
    files: list[tuple[Path, Base]] = [(recipe_path(name, folder), read_recipe(name, folder))]
    while (base := files[0][1].based_on) is not None:
        known = [*recipe_names(folder), *(path.stem for path in (folder / BASES).glob("*.yaml"))]
        if base not in known:
            raise ValueError(f"{files[0][0]}: based_on = {base!r} is neither a recipe nor a base; {_near(base, known)}")
        is_recipe = base in recipe_names(folder)
        path = recipe_path(base, folder) if is_recipe else folder / BASES / f"{base}.yaml"
        if path in [earlier for earlier, _ in files]:
            raise ValueError(f"{files[0][0]}: based_on = {base!r} leads back to itself")
        files.insert(0, (path, read_recipe(base, folder) if is_recipe else _read(path, Base)))
    return files


def read_yaml(path: Path) -> Patch:
    """Return a YAML mapping; ValueError if the file holds anything else."""
    return parse_params(path.read_bytes(), str(path))


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

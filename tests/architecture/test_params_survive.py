"""params.yaml survives `dvc exp run -S` on every key: DVC rewrites it with ruamel through the same functions."""

import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline_lib.params.all_sections import check_params
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()


def leaves(value, prefix=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}.{key}".lstrip("."))
    else:
        yield prefix, value


PARAMS = dict(leaves(load_params(ROOT / "params.yaml")))


def as_override(value) -> str:
    if isinstance(value, list):
        return "[" + ",".join(as_override(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def changed(value):
    """A value of the same kind that is not this one; lists also shrink to nothing and grow."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, value[0]] if value else [0]
    return "other"


# Null by default, but they may be lists.
LISTS = {
    "data.columns.text": ["title", "description"],
    "model.image.mean": [0.5, 0.5, 0.5],
    "model.image.std": [0.5, 0.5, 0.5],
}


def comments(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("#")]


def check_overrides(values: dict, path: Path) -> None:
    """Set the keys in one call, as `-S` does, and compare all values and comments."""
    shutil.copy(ROOT / "params.yaml", path)
    apply_overrides(path, [f"{key}={as_override(value)}" for key, value in values.items()])
    assert dict(leaves(load_params(path))) == PARAMS | values
    assert comments(path) == comments(ROOT / "params.yaml")
    # Editors read the name of the schema from line 1 only.
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=params.schema.json\n")


# Rewriting the file takes half a second, so each call sets every eighth key: the keys beside it must stay.
SCALARS = [key for key, value in PARAMS.items() if not isinstance(value, list)]


@pytest.mark.parametrize("first", range(8))
def test_keys_can_be_set_and_nothing_else_moves(first, tmp_path):
    check_overrides({key: changed(PARAMS[key]) for key in SCALARS[first::8]}, tmp_path / "params.yaml")


GROWN = {
    key: LISTS.get(key) or changed(PARAMS[key]) for key in [*(key for key in PARAMS if key not in SCALARS), *LISTS]
}


@pytest.mark.parametrize("first", range(4))
def test_a_list_can_grow_and_shrink_to_nothing(first, tmp_path):
    grown = dict(list(GROWN.items())[first::4])
    check_overrides(grown, tmp_path / "params.yaml")
    check_overrides({key: [] for key in grown if key not in LISTS}, tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "added",
    ["phases.train.epochs=3", "phases.head={epochs:3}", "model.image.args.depths=[1,2]", "model.text.config.layers=2",
     "losses.class_distillation.teachers={big:2.0}"],
)  # fmt: skip
def test_a_mapping_that_is_empty_can_be_filled(added, tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    apply_overrides(path, [f"++{added}"])
    assert comments(path) == comments(ROOT / "params.yaml")
    section = added.partition(".")[0]
    before, after = load_params(ROOT / "params.yaml"), load_params(path)
    assert before.pop(section) != after.pop(section) and before == after
    assert dict(leaves(load_params(path))).keys() > PARAMS.keys()


def test_no_comment_follows_a_value():
    assert not [line for line in LINES if "#" in line and not line.strip().startswith("#")]


def test_params_fit_their_own_models():
    check_params(ROOT / "params.yaml")

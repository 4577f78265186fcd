"""Recipes survive DVC's grammar: `-S` turns params.yaml into exactly the merged params, and every comment stays."""

import shutil
from pathlib import Path

import pytest
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.experiments.recipes.merging import cells, merge
from pipeline_lib.experiments.recipes.overrides import ABSENT, Difference, apply, differences, overrides
from pipeline_lib.experiments.recipes.schema import recipe_names
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[3]
FILE = ROOT / "params.yaml"
PARAMS = load_params(FILE)
NAMES = recipe_names(ROOT / "recipes")


def comments(path):
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip().startswith("#")]


def rewritten(path, old, new):
    """params.yaml after `dvc exp run -S`: the overrides are parsed as on its command line."""
    (file, parsed), *more = to_path_overrides(overrides(old, new)).items()
    assert (file, more) == ("params.yaml", [])
    apply_overrides(path, parsed)
    return load_params(path)


@pytest.mark.parametrize("tiny", [False, True], ids=["real", "tiny"])
def test_recipes_are_written_to_params_one_after_another_and_removed_without_a_trace(tiny, tmp_path):
    """Each recipe replaces the one before it, the last one gives way to the project's own settings."""
    path, current = tmp_path / "params.yaml", PARAMS
    shutil.copy(FILE, path)
    for name in NAMES:
        for cell in cells(name, PARAMS, tiny, ROOT / "recipes")[:: 8 if name == "a16" else 1]:
            if cell.params == current:  # with tiny towers some recipes are the same
                continue
            assert rewritten(path, current, cell.params) == cell.params, cell.name
            assert comments(path) == comments(FILE), cell.name
            current = cell.params
    apply(path, current, PARAMS)
    assert load_params(path) == PARAMS and comments(path) == comments(FILE)


def test_differences_are_leaves_and_compare_types():
    old = {"a": {"b": 1, "c": [1]}, "d": "1", "e": {}}
    assert differences(old, {"a": {"b": 1.0, "c": [1]}, "d": 1, "e": {"f": {"g": None}}}) == [
        Difference("a.b", 1, 1.0), Difference("d", "1", 1), Difference("e.f", ABSENT, {"g": None}),
    ]  # fmt: skip
    assert differences(old, {"a": {"b": 1}, "d": "1", "e": {}}) == [Difference("a.c", [1], ABSENT)]
    assert differences(old, old) == []


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=12).filter(
    lambda text: "${" not in text
)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
)
KEYS = st.from_regex(r"\A[a-z_][a-z0-9_]{0,6}\Z").filter(lambda key: key not in ("null", "true", "false", "inf", "nan"))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_any_value_survives(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "params.yaml"
    path.write_text("# above\nmodel:\n  image:\n    args: {}\nother: 1\n", encoding="utf-8")
    old = load_params(path)
    new = merge(old, {"model": {"image": {"args": {"value": value}}}})
    assert rewritten(path, old, new) == new
    assert comments(path) == ["# above"]


def test_an_interpolation_is_refused_and_not_resolved():
    with pytest.raises(ValueError, match=r"\$\{\.\.\.\} would be read as an interpolation"):
        overrides({"a": 1}, {"a": "${oc.env:HOME}"})

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


@pytest.mark.parametrize("key", PARAMS)
def test_a_key_can_be_set_and_nothing_else_moves(key, tmp_path):
    path = tmp_path / "params.yaml"
    values = [changed(PARAMS[key]), *([[]] if isinstance(PARAMS[key], list) else [])]
    for value in values:
        shutil.copy(ROOT / "params.yaml", path)
        apply_overrides(path, [f"{key}={as_override(value)}"])
        after = dict(leaves(load_params(path)))
        assert after.pop(key) == value
        assert after == {name: old for name, old in PARAMS.items() if name != key}
        comments = [
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip().startswith("#")
        ]
        assert comments == [line.strip() for line in LINES if line.strip().startswith("#")]


def test_no_comment_follows_a_value():
    assert not [line for line in LINES if "#" in line and not line.strip().startswith("#")]


def test_params_fit_their_own_models():
    check_params(ROOT / "params.yaml")

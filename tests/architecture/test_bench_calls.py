"""Benches and other scripts outside the package are rarely run, so a renamed function would break them unseen."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("bench/*.py"), *ROOT.glob("docs/*.py"), *ROOT.glob("examples/**/*.py")])
OURS = ("pipeline_lib", "stages")


def imported(tree):
    """Return name in the script -> (module, its name there) for what it imports from this project."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in nodes if node.module.split(".")[0] in OURS for alias in node.names
    }  # fmt: skip


def resolved(tree, found):
    """Return the imported objects by name; what does not exist is added to `found`."""
    objects = {}
    for name, (module, attribute) in imported(tree).items():
        try:
            owner = importlib.import_module(module)
            objects[name] = getattr(owner, attribute, None) or importlib.import_module(f"{module}.{attribute}")
        except ModuleNotFoundError:
            found.append(f"{module} has no {attribute}")
    return objects


def called(function, objects):
    """Return the object that `name` or `name.attribute` calls, None if it is not of this project."""
    if isinstance(function, ast.Name):
        return objects.get(function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        owner = objects.get(function.value.id)
        return getattr(owner, function.attr, None) if inspect.ismodule(owner) or inspect.isclass(owner) else None
    return None


def problems(text):
    """Return what a script imports that does not exist, and the calls that do not fit the signature, line by line."""
    tree, found = ast.parse(text), []
    objects = resolved(tree, found)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = called(call.func, objects)
        star = any(isinstance(value, ast.Starred) for value in call.args)
        if not callable(function) or star or any(keyword.arg is None for keyword in call.keywords):
            continue
        try:
            inspect.signature(function).bind(*call.args, **{keyword.arg: None for keyword in call.keywords})
        except TypeError as error:
            found.append(f"line {call.lineno}: {ast.unparse(call.func)}: {error}")
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_exists_and_its_calls_fit(path):
    assert problems(path.read_text(encoding="utf-8")) == []


def test_a_wrong_name_and_a_wrong_call_are_found():
    script = (
        "from pipeline_lib.artifacts import digests\n"
        "from pipeline_lib.artifacts.digests import digest_nothing\n"
        "from pipeline_lib.artifacts.digests import digest_path as digest\n"
        "from pipeline_lib.no_such_room import thing\n"
        "digest()\ndigest(1)\ndigest(1, other=2)\ndigests.digest_folder()\ndigests.digest_folder(1)\ndigest(*any)\n"
    )
    assert problems(script) == [
        "pipeline_lib.artifacts.digests has no digest_nothing",
        "pipeline_lib.no_such_room has no thing",
        "line 5: digest: missing a required argument: 'path'",
        "line 7: digest: got an unexpected keyword argument 'other'",
        "line 8: digests.digest_folder: missing a required argument: 'folder'",
    ]

"""The rules of the house: imports go down only, rooms stay small, packages' __init__ are empty."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("pipeline_lib/**/*.py"), *ROOT.glob("stages/*.py")])
SHOP = sorted(ROOT.glob("data/sample/shop/**/*.py"))
# The floors, top first. A package imports from lower floors only, never from one beside it.
FLOORS = (
    ("stages", "cli"),
    ("report",),
    ("training", "experiments"),
    ("features",),
    ("inference", "evaluation", "ensembling"),
    ("loading", "retrieval"),
    ("models", "losses", "optim", "shards", "stores", "datasets"),
    ("catalogue", "splitting", "transforms", "metrics"),
    ("execution",),
    ("params",),
    ("artifacts",),
    ("batch",),
)
FLOOR_OF = {name: number for number, floor in enumerate(reversed(FLOORS)) for name in floor}


def room(module: str) -> str:
    """The package or module under pipeline_lib that stands in the table of layers."""
    parts = module.split(".")
    return parts[0] if parts[0] == "stages" else parts[1]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "pipeline_lib"
                else {node.module}
            )
    return {name for name in found if name.split(".")[0] in ("pipeline_lib", "stages") and name != "pipeline_lib"}


def own_room(path: Path) -> str:
    return room(".".join(path.relative_to(ROOT).with_suffix("").parts))


def test_floors_name_exactly_the_packages_that_exist():
    assert set(FLOOR_OF) == {own_room(path) for path in SOURCES} - {"__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    own = own_room(path)
    wrong = [name for name in imports(path) if room(name) != own and FLOOR_OF[room(name)] >= FLOOR_OF[own]]
    assert not wrong, f"{own} imports {wrong}"


def test_stages_bound_the_spinning_of_threads_before_torch_is_loaded():
    told = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("stages/[a-z]*.py")}
    computing = {name: text for name, text in told.items() if "pick_device" in text}
    assert computing.keys() == {"embed", "features", "train"}
    for name, text in computing.items():
        ours = [line for line in text.splitlines() if line.startswith(("import pipeline_lib", "from pipeline_lib"))]
        assert ours[0].startswith("import pipeline_lib.execution.threads"), name
        assert not re.search("^(import|from) (torch|faiss|sklearn|timm)", text, re.MULTILINE), name


def test_stages_never_import_each_other():
    for path in ROOT.glob("stages/*.py"):
        assert not [name for name in imports(path) if name.startswith("stages")], path


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES + SHOP, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_and_functions_stay_small(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (80 if path.parent.name == "stages" else 300)
    for function in functions(path):
        assert function.end_lineno - function.lineno < 60, function.name


def test_inits_are_empty():
    assert not [path for path in SOURCES + SHOP if path.name == "__init__.py" and path.read_text().strip()]


def test_no_room_is_called_after_nothing():
    banned = {"utils", "common", "helpers", "misc", "util", "helper"}
    assert not [path for path in SOURCES + SHOP if set(path.with_suffix("").parts) & banned]


def test_every_module_says_what_it_is():
    silent = [
        path
        for path in SOURCES + SHOP
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_no_loose_ends():
    marks = ("TODO", "FIXME", "XXX", "except Exception: pass", "# type: ignore\n")
    for path in SOURCES + SHOP:
        text = path.read_text(encoding="utf-8")
        assert not [mark for mark in marks if mark in text], path


def test_tests_weigh_enough():
    def count(paths):
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert count(ROOT.glob("tests/**/*.py")) >= 0.6 * count(SOURCES + SHOP)

"""Rules of the code: imports go down only, modules and functions stay small, packages' __init__.py are empty."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("pipeline_lib/**/*.py"), *ROOT.glob("stages/*.py")])
SHOP = sorted(ROOT.glob("data/sample/shop/**/*.py"))
# Layers, top first. A package imports from lower layers only, never from another package of its own layer.
FLOORS = (
    ("stages", "cli"),
    ("report", "serving"),
    ("training", "experiments"),
    ("features",),
    ("inference", "evaluation", "ensembling", "retrieval"),
    ("loading",),
    ("models",),
    ("towers", "losses", "optim", "shards", "stores", "datasets"),
    ("catalogue", "splitting", "metrics"),
    ("clips",),
    ("transforms",),
    ("execution",),
    ("params",),
    ("artifacts",),
    ("batch",),
)
# Dataclasses with a field for each column of a format.
RECORDS = {"Batch"}
FLOOR_OF = {name: number for number, floor in enumerate(reversed(FLOORS)) for name in floor}


# Only here: every stage also runs as a plain command (tests/pipeline/test_plain_commands.py).
MAY_IMPORT_DVC = ROOT / "pipeline_lib/experiments"
DVC = {"dvc", "dvclive", "dvc_data", "dvc_objects", "dvc_render", "dvc_studio_client", "scmrepo"}


def package_of(module: str) -> str:
    """The package or module under pipeline_lib that the table of layers names."""
    parts = module.split(".")
    return parts[0] if parts[0] == "stages" else parts[1]


class Facts(NamedTuple):
    """What the rules look at in one file."""

    imports: set[str]  # modules, inside functions too
    functions: list[tuple[str, int, int]]  # name, lines, arguments without self and cls
    dataclasses: list[tuple[str, int]]  # name, fields
    docstring: str | None


@cache
def facts(path: Path) -> Facts:
    """Parse a file once for all rules."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = Facts(set(), [], [], ast.get_docstring(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found.imports.update(members if node.module == "pipeline_lib" else {node.module})
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            num_arguments = sum(one.arg not in ("self", "cls") for one in arguments)
            found.functions.append((node.name, node.end_lineno - node.lineno, num_arguments))
        elif isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list):
            found.dataclasses.append((node.name, sum(isinstance(line, ast.AnnAssign) for line in node.body)))
    return found


def imports(path: Path) -> set[str]:
    """The project's own modules among them."""
    return {name for name in facts(path).imports if name.startswith(("pipeline_lib.", "stages"))}


def own_package(path: Path) -> str:
    return package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))


def test_floors_name_exactly_the_packages_that_exist():
    assert set(FLOOR_OF) == {own_package(path) for path in SOURCES} - {"__init__"}


def test_imports_go_down_only():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        for name in imports(path)
        if package_of(name) != own_package(path) and FLOOR_OF[package_of(name)] >= FLOOR_OF[own_package(path)]
    ]
    assert not wrong


def test_only_experiments_import_dvc():
    importing = {path for path in SOURCES + SHOP if {name.split(".")[0] for name in facts(path).imports} & DVC}
    assert importing, "the rule is of no use if nothing imports DVC"
    assert not [path for path in importing if MAY_IMPORT_DVC not in path.parents]


def test_stages_limit_spinning_threads_before_torch_is_loaded():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("stages/[a-z]*.py")}
    computing = {name: text for name, text in texts.items() if re.search("pick_device|run_extraction", text)}
    assert computing.keys() == {"compose", "embed", "features", "gallery", "teacher", "train", "views"}
    assert "\nimport pipeline_lib.execution.threads" in (ROOT / "stages/__init__.py").read_text(encoding="utf-8")
    for name, text in computing.items():
        assert not re.search("^(import|from) (torch|faiss|sklearn|timm)", text, re.MULTILINE), name


def test_stages_never_import_each_other():
    for path in ROOT.glob("stages/*.py"):
        assert not [name for name in imports(path) if name.startswith("stages")], path


def test_modules_and_functions_stay_small():
    for path in SOURCES + SHOP:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= (80 if path.parent.name == "stages" else 300), path
    assert not [(path, name) for path in SOURCES + SHOP for name, lines, _ in facts(path).functions if lines >= 60]


def test_functions_take_few_arguments_and_dataclasses_have_few_fields():
    files = SOURCES + SHOP
    assert not [(path, name) for path in files for name, _, arguments in facts(path).functions if arguments > 6]
    large = [(path, name) for path in files for name, fields in facts(path).dataclasses if fields > 12]
    assert not [one for one in large if one[1] not in RECORDS]


def test_inits_are_empty_but_that_of_the_stages():
    """Theirs prepares the process before the libraries of any stage."""
    filled = [path for path in SOURCES + SHOP if path.name == "__init__.py" and path.read_text().strip()]
    assert filled == [ROOT / "stages/__init__.py"]


def test_no_module_has_a_name_that_says_nothing():
    banned = {"utils", "common", "helpers", "misc", "util", "helper"}
    assert not [path for path in SOURCES + SHOP if set(path.with_suffix("").parts) & banned]


def test_every_module_says_what_it_is():
    silent = [path for path in SOURCES + SHOP if path.name != "__init__.py" and not facts(path).docstring]
    assert not silent


def test_nothing_is_left_to_do():
    marks = ("TODO", "FIXME", "XXX", "except Exception: pass", "# type: ignore\n")
    for path in SOURCES + SHOP:
        text = path.read_text(encoding="utf-8")
        assert not [mark for mark in marks if mark in text], path


def test_there_are_enough_tests():
    def count(paths):
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert count(ROOT.glob("tests/**/*.py")) >= 0.6 * count(SOURCES + SHOP)

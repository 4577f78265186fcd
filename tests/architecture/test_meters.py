"""Long work shows progress: every stage makes a meter, itself or in the one module that does its work."""

import ast
from pathlib import Path

import pytest

from pipeline_lib.execution.import_closure import import_closure

ROOT = Path(__file__).parents[2]
# Script -> the module that does its work and makes the meter. All other scripts make their own.
ELSEWHERE = {
    "features": "pipeline_lib/features/extract.py",
    "teacher": "pipeline_lib/features/extract.py",
    "views": "pipeline_lib/features/extract.py",
    "train": "pipeline_lib/training/trainer.py",
    "compose": "pipeline_lib/training/composed/trainer.py",
}
# Script -> why it needs none.
WITHOUT = {"code": "hashes the files of the repository, in a second or less"}
SCRIPTS = sorted({script.stem for script in (ROOT / "stages").glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stage_has_a_meter(name):
    script = Path("stages") / f"{name}.py"
    file = Path(ELSEWHERE.get(name, script))
    makes = _opens_a_meter(ROOT / file)
    assert makes != (name in WITHOUT), f"{file}: {'remove it from WITHOUT' if makes else 'no `with metered(...)`'}"
    if name in ELSEWHERE:
        assert not _opens_a_meter(ROOT / script), f"{script} makes a meter of its own: remove it from ELSEWHERE"
        assert ROOT / file in import_closure(f"stages.{name}", ROOT)


def test_the_lists_name_scripts():
    assert {*ELSEWHERE, *WITHOUT} <= set(SCRIPTS)


def _opens_a_meter(file: Path) -> bool:
    """Return whether a `with` statement of a file calls `metered`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = (item.context_expr for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items)
    return any(isinstance(call, ast.Call) and getattr(call.func, "id", "") == "metered" for call in calls)

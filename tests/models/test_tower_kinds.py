"""A tower's library is imported when the tower is used, and not before: open_clip alone takes seconds."""

import ast
from pathlib import Path

import pytest

from pipeline_lib.execution.import_closure import import_closure

ROOT = Path(__file__).parents[2]
SLOW = ("open_clip", "timm", "transformers")
TOWERS = "pipeline_lib.models.tower_kinds"


def imported_at_once(module: str) -> set[str]:
    """Every module that importing `module` imports, through ours as far as they go; imports in functions wait."""
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []:
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {name.split(".")[0] if not name.startswith("pipeline_lib") else name for name in seen}


@pytest.mark.parametrize("module", ["embedding.predict", "features.trunk", "training.fold", "terminal", "models.saved"])
def test_no_towers_library_is_imported_before_the_tower(module):
    found = imported_at_once(f"pipeline_lib.{module}")
    assert TOWERS in found and "torch" in found
    assert not found & set(SLOW)


@pytest.mark.parametrize(
    ("tower", "libraries"),
    [
        ("timm_tower", {"timm"}),
        ("hf_text_tower", {"transformers"}),
        ("open_clip_image", {"open_clip", "timm"}),
        ("open_clip_text", {"open_clip", "transformers"}),
    ],
)
def test_a_tower_imports_no_other_towers_library(tower, libraries):
    assert imported_at_once(f"pipeline_lib.models.{tower}") & set(SLOW) == libraries


def test_a_stage_still_reaches_every_tower():
    """What waits inside a function is part of a stage's identity all the same."""
    names = {path.stem for path in import_closure(TOWERS, ROOT)}
    assert {"timm_tower", "hf_text_tower", "open_clip_image", "open_clip_text", "clip_models"} <= names

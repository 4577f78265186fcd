"""The library of a tower is imported when the tower is built, and not before: open_clip alone takes seconds."""

import ast
from pathlib import Path

import pytest
import torch
from model_settings import make_model_params

from pipeline_lib.execution.import_closure import import_closure
from pipeline_lib.towers.kinds import untrained_image_tower
from pipeline_lib.towers.timm_tower import resolve_timm

ROOT = Path(__file__).parents[2]
SLOW = ("open_clip", "timm", "transformers")
TOWERS = "pipeline_lib.towers.kinds"


def imported_at_once(module: str) -> set[str]:
    """All modules that importing `module` imports, followed through the project; imports in functions do not count."""
    queue, visited = [module], set()
    while queue:
        name = queue.pop()
        if name in visited:
            continue
        visited.add(name)
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []:
            if isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {name.split(".")[0] if not name.startswith("pipeline_lib") else name for name in visited}


@pytest.mark.parametrize("module", ["inference.predict", "features.trunk", "training.fold", "models.saved"])
def test_no_library_of_a_tower_is_imported_with_the_module(module):
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
        ("blip2_image", {"transformers"}),
    ],
)
def test_a_tower_imports_only_its_own_libraries(tower, libraries):
    assert imported_at_once(f"pipeline_lib.towers.{tower}") & set(SLOW) == libraries


def test_the_import_closure_has_every_tower():
    """Imports inside functions are part of a stage's identity too."""
    names = {path.stem for path in import_closure(TOWERS, ROOT)}
    assert {"timm_tower", "hf_text_tower", "open_clip_image", "open_clip_text", "blip2_image", "clip_models"} <= names


def test_a_tower_with_random_weights_is_the_same_each_time_and_draws_nothing_from_the_caller(tiny_image_folder):
    source = resolve_timm(make_model_params(image={"name": str(tiny_image_folder), "pretrained": False}))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = untrained_image_tower(source, "cpu").state_dict()
    assert torch.equal(torch.rand(2), expected)
    second = untrained_image_tower(source, "cpu").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)

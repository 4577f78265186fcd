"""Pictures are small, light, and name the stages and files that exist."""

import importlib.util
from xml.etree import ElementTree

import pytest
from documents import ROOT
from PIL import Image

FOLDER = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def script():
    place = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_all_pictures_are_there_and_small(script):
    names = {f"{name}.png" for name in (*script.SHOTS, *script.SEARCHES)} | {"dag.svg", "batch.svg"}
    assert {path.name for path in FOLDER.iterdir()} == names
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 500_000


def test_drawings_are_what_the_script_draws_now(script):
    """The script refuses stages that dvc.yaml does not have, and stages that are not drawn."""
    assert (FOLDER / "dag.svg").read_text(encoding="utf-8") == script.dag()
    assert (FOLDER / "batch.svg").read_text(encoding="utf-8") == script.path_of_a_batch()


def test_files_in_the_drawing_exist(script):
    files = script.named_files(script.path_of_a_batch())
    assert len(files) > 8
    assert not [name for name in files if not (ROOT / "pipeline_lib" / name).is_file()]


def test_pictures_have_a_light_background(script):
    for path in FOLDER.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.convert("RGB").getpixel((3, picture.height // 2))) > 220, path.name
    for path in FOLDER.glob("*.svg"):
        sheet = next(ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}rect"))
        assert sheet.get("fill") == script.PAPER, path.name

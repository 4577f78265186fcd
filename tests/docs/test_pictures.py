"""Pictures are small, light, and name the stages and files that exist."""

import importlib.util
import re
import sys
from xml.etree import ElementTree

import pytest
from documents import ROOT
from PIL import Image

FOLDER = ROOT / "docs" / "pictures"


def loaded(name):
    """The module of a script in docs/."""
    place = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(place)
    sys.modules[name] = module  # dataclasses look their module up
    place.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return loaded("pictures")


@pytest.fixture(scope="module")
def screenshots():
    return loaded("screenshots")


def test_all_pictures_are_there_and_small(screenshots):
    shots = (*screenshots.SHOTS, *screenshots.SEARCHES)
    names = {f"{name}.{screenshots.KIND}" for name in shots} | {"dag.svg", "batch.svg"}
    assert {path.name for path in FOLDER.iterdir()} == names
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000


def test_each_picture_is_shown_with_words_for_those_who_do_not_see_it():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    shown = re.findall(r"!\[(.+?)\]\((?:docs/)?pictures/(\S+?)\)", text)
    shown += re.findall(r'<img src="pictures/(?P<name>\S+?)"[^>]* alt="(?P<words>.+?)"', text)
    names = {part for pair in shown for part in pair if part.endswith((".webp", ".svg"))}
    assert names == {path.name for path in FOLDER.iterdir()}


def test_pictures_are_as_large_as_the_script_takes_them(screenshots):
    for name, scene in screenshots.SEARCHES.items():
        _, _, width, height = scene.part
        with Image.open(FOLDER / f"{name}.{screenshots.KIND}") as picture:
            assert picture.size == (round(width * scene.density), round(height * scene.density)), name


def test_drawings_are_what_the_script_draws_now(script):
    """The script refuses stages that dvc.yaml does not have, and stages that are not drawn."""
    assert (FOLDER / "dag.svg").read_text(encoding="utf-8") == script.dag()
    assert (FOLDER / "batch.svg").read_text(encoding="utf-8") == script.path_of_a_batch()


def test_files_in_the_drawing_exist(script):
    files = script.named_files(script.path_of_a_batch())
    assert len(files) > 8
    assert not [name for name in files if not (ROOT / "pipeline_lib" / name).is_file()]


def test_pictures_have_a_light_background(script):
    for path in FOLDER.glob("*.webp"):
        with Image.open(path) as picture:
            assert min(picture.convert("RGB").getpixel((3, picture.height // 2))) > 220, path.name
    for path in FOLDER.glob("*.svg"):
        sheet = next(ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}rect"))
        assert sheet.get("fill") == script.PAPER, path.name

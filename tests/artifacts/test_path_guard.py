"""Where links of the data root may lead: the project and DVC's cache, and nowhere else."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline_lib.artifacts.path_guard import is_inside, link_targets, linked_folders
from pipeline_lib.catalogue.media import open_photo, photo_bytes
from pipeline_lib.catalogue.photos import check_photos
from pipeline_lib.transforms.formats import BadPhotoError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project as the working folder, beside the folders `cache` and `outside`."""
    folder = tmp_path / "project"
    for name in ("project/.dvc/cache/files/md5/ab", "project/raw/images", "cache/files/md5/cd", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("project/.dvc/cache/files/md5/ab/12", "cache/files/md5/cd/34", "outside/1.jpg"):
        Image.new("RGB", (20, 20), "red").save(tmp_path / name, "JPEG")
    for name in ("DVC_ROOT", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(folder)
    return folder


def faults(project: Path, *names: str) -> list[str | None]:
    checked = check_photos((project / "raw").resolve(), 10**6, names, link_targets())
    return [fault and fault.reason for fault in checked.faults]


def test_links_into_the_cache_of_the_project_are_followed(project: Path) -> None:
    (project / "raw/images/1.jpg").symlink_to(project / ".dvc/cache/files/md5/ab/12")
    assert faults(project, "images/1.jpg") == [None]
    assert photo_bytes(project / "raw", "images/1.jpg", link_targets())[:2] == b"\xff\xd8"


@pytest.mark.parametrize("file", ["config", "config.local"])
@pytest.mark.parametrize("value", ["{parent}/cache", "../../cache", '"{parent}/cache"'])
def test_a_cache_elsewhere_is_known_from_the_configuration(project: Path, file: str, value: str) -> None:
    (project / "raw/images/1.jpg").symlink_to(project.parent / "cache/files/md5/cd/34")
    assert faults(project, "images/1.jpg") == ["link leaves the data root"]
    text = "[core]\n    analytics = false\n['remote \"far\"']\n    url = s3://a/%b\n"
    text += "[cache]\n    type = symlink\n    dir = "
    (project / ".dvc" / file).write_text(text + value.format(parent=project.parent) + "\n", encoding="utf-8")
    assert faults(project, "images/1.jpg") == [None]


def test_a_cache_may_be_set_for_all_projects_of_a_user(project: Path) -> None:
    (project / "raw/images/1.jpg").symlink_to(project.parent / "cache/files/md5/cd/34")
    settings = project.parent / "settings/dvc/config"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[cache]\n    dir = {project.parent / 'cache'}\n", encoding="utf-8")
    assert faults(project, "images/1.jpg") == [None]


def test_a_linked_image_folder_inside_the_project_is_followed(project: Path) -> None:
    (project / "pictures").mkdir()
    Image.new("RGB", (20, 20)).save(project / "pictures/1.png")
    (project / "raw/linked").symlink_to("../pictures")
    assert faults(project, "linked/1.png") == [None]


def test_any_other_link_is_refused_and_never_opened(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = project.parent / "outside"
    (project / "raw/images/1.jpg").symlink_to(outside / "1.jpg")
    (project / "raw/folder").symlink_to(outside)
    (project.parent / "project-2").mkdir()
    (project.parent / "project-2/1.jpg").write_bytes((outside / "1.jpg").read_bytes())
    (project / "raw/images/2.jpg").symlink_to(project.parent / "project-2/1.jpg")  # a name that begins alike
    (project / "raw/images/3.jpg").symlink_to(project / "raw/images/1.jpg")  # by way of a link inside
    monkeypatch.setattr(Path, "open", None)
    names = ("images/1.jpg", "folder/1.jpg", "images/2.jpg", "images/3.jpg")
    assert faults(project, *names) == ["link leaves the data root"] * 4
    with pytest.raises(BadPhotoError, match=r"^link leaves the data root: images/1\.jpg$"):
        open_photo((project / "raw").resolve(), "images/1.jpg", link_targets())


def test_outside_a_project_no_link_may_leave_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert link_targets() == ()


def test_links_to_folders_are_found_at_the_top_and_on_the_way_to_a_photo(project: Path) -> None:
    """DVC looks into none of them, so the catalogue says so."""
    (project / "pictures/deep").mkdir(parents=True)
    for link, target in (("raw/unused", "../pictures"), ("raw/images/more", "../../pictures"), ("raw/t.csv", "x")):
        (project / link).symlink_to(target)
    names = ["images/1.jpg", "images/more/deep/2.jpg", "3.jpg", "../4.jpg", "a.tsv#1:2"]
    assert linked_folders(project / "raw", names) == ["images/more", "unused"]
    assert linked_folders(project / "raw", []) == ["unused"]


@pytest.mark.parametrize(
    ("real", "folder", "inside"),
    [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/b", "/", True), ("/", "/a", False)],
)
def test_a_path_lies_in_a_folder_by_its_parts(real: str, folder: str, inside: bool) -> None:
    assert is_inside(real, Path(folder)) == inside

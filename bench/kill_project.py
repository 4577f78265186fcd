"""A small project in which every stage of dvc.yaml has work: photos, clips, composed queries, thumbs, and a teacher."""

import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "support"), str(REPO / "tests")]

from small_shop import Project  # noqa: E402
from whole_shop import WHOLE, complete_shop  # noqa: E402

SETTINGS = (
    *WHOLE, "train.epochs=3", "runtime.workers=2", "runtime.device=cpu", "plan.index=[flat,hnsw]",
    "split.test_fraction=0.2",
)  # fmt: skip
TEACHER = "earlier"


def make_project(folder: Path, image_tower: Path, text_tower: Path, server: Path) -> Project:
    """Return the project after two runs of DVC: the second one has the models of the first as a teacher."""
    project = Project.create(folder, image_tower, text_tower)
    project.server = server
    complete_shop(folder)
    project.set_params(*SETTINGS)
    project.commit("settings")
    project.build()
    project.run_vitrine("keep", "workspace", TEACHER)
    project.set_params(f"plan.teachers=[{TEACHER}]")
    project.commit("teacher")
    project.build()
    return project


class _Folders:
    """Makes the folders that the fixtures of the towers ask pytest for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mktemp(self, name: str) -> Path:
        (self._root / name).mkdir(parents=True)
        return self._root / name


def make_towers(root: Path) -> tuple[Path, Path]:
    """Write the tests' towers of images and of texts, and return their folders."""
    import conftest

    towers = (conftest.tiny_image_folder, conftest.tiny_text_folder)
    image, text = (tower.__wrapped__(_Folders(root)) for tower in towers)
    return image, text

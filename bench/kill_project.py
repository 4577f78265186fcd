"""A small project in which every stage of dvc.yaml has work: photos, clips, composed queries, thumbs, and a teacher."""

import csv
import random
import sys
from pathlib import Path

from PIL import Image

REPO = Path(__file__).parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "support"), str(REPO / "tests")]

from small_shop import Project  # noqa: E402

from pipeline_lib.serving.judgements import JudgementFile  # noqa: E402

SETTINGS = (
    "plan.frames=[clips]", "data.columns.video=video", "data.queries=queries.csv", "data.table=products.csv",
    "plan.composed=[sum]", "composed.epochs=2", "composed.embedding_dim=16", "composed.batch_size=16",
    "composed.precision=fp32", "plan.judged=[0]", "plan.phases=[{name:head,after:none}]", "plan.last=head",
    "++phases.head={unfreeze_layers:0}", "train.epochs=3", "runtime.workers=2", "frames.count=3",
    "runtime.device=cpu", "plan.index=[flat,hnsw]", "split.test_fraction=0.2",
)  # fmt: skip
TEACHER = "earlier"
CLIPS = 8


def make_project(folder: Path, image_tower: Path, text_tower: Path, server: Path) -> Project:
    """Return the project after two runs of DVC: the second one has the models of the first as a teacher."""
    project = Project.create(folder, image_tower, text_tower)
    project.server = server
    _add_clips(folder / "data/raw/shop")
    _add_queries(folder / "data/raw/shop/queries.csv")
    thumbs = JudgementFile(folder / "data/judgements/judgements.csv")
    for query, product_id, grade in (("red mug", "p0", 1), ("red mug", "p1", 0), ("blue hat", "p4", 1)):
        thumbs.add(query, product_id, grade, "kills · fold 0")
    project.set_params(*SETTINGS)
    project.commit("settings")
    project.build()
    project.run_vitrine("keep", "workspace", TEACHER)
    project.set_params(f"plan.teachers=[{TEACHER}]")
    project.commit("teacher")
    project.build()
    return project


def _add_clips(shop: Path) -> None:
    """Draw a short clip for the first products, and name it in a column of the table."""
    (shop / "videos").mkdir()
    for number in range(CLIPS):
        draw = random.Random(number)
        frames = [Image.new("RGB", (48, 44), tuple(draw.randrange(256) for _ in range(3))) for _ in range(6)]
        frames[0].save(shop / f"videos/p{number}.gif", save_all=True, append_images=frames[1:], duration=100)
    with (shop / "products.csv").open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = csv.reader(stream)
    with (shop / "products.csv").open("w", encoding="utf-8", newline="") as stream:
        clips = [f"videos/{row[0]}.gif" if int(row[0][1:]) < CLIPS else "" for row in rows]
        images = [f"images/{row[0]}.jpg" for row in rows]
        table = [[*row, image, clip] for row, image, clip in zip(rows, images, clips, strict=True)]
        csv.writer(stream).writerows([[*header, "image", "video"], *table])


def _add_queries(file: Path) -> None:
    """Write composed queries: a product and the colour of another one of its kind."""
    rows = [(f"q{number}", f"p{number}", "the same in blue", f"p{number + 1}") for number in range(0, 60, 3)]
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("query_id", "reference_id", "text", "target_id"), *rows])


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

"""A small shop in which every stage of dvc.yaml has work: photos, clips, composed queries, and thumbs."""

import csv
import random
from pathlib import Path

from PIL import Image

from pipeline_lib.serving.judgements import JudgementFile

# Beside the settings of small_shop.
WHOLE = (
    "plan.frames=[clips]", "data.columns.video=video", "data.queries=queries.csv", "data.table=products.csv",
    "plan.composed=[sum]", "composed.epochs=2", "composed.embedding_dim=16", "composed.batch_size=16",
    "composed.precision=fp32", "plan.judged=[0]", "plan.phases=[{name:head,after:none}]", "plan.last=head",
    "++phases.head={unfreeze_layers:0}", "frames.count=3",
)  # fmt: skip
CLIPS = 8
THUMBS = (("red mug", "p0", 1), ("red mug", "p1", 0), ("blue hat", "p4", 1))


def complete_shop(project: Path) -> None:
    """Add clips and composed queries to the shop that small_shop wrote in a project, and thumbs of the search page."""
    shop = project / "data/raw/shop"
    _add_clips(shop)
    _add_queries(shop / "queries.csv")
    thumbs = JudgementFile(project / "data/judgements/judgements.csv")
    for query, product_id, grade in THUMBS:
        thumbs.add(query, product_id, grade, "tests · fold 0")


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
    """Write composed queries: a red product, and the blue one of its kind."""
    rows = [(f"q{number}", f"p{number}", "the same in blue", f"p{number + 1}") for number in range(0, 45, 3)]
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("query_id", "reference_id", "text", "target_id"), *rows])

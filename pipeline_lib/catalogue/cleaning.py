"""Opens every photo and removes what cannot be used; every removal is a row of the reject table with its reason.

A product loses its bad photos. If none is left, the product is rejected, or it gets a black image if params say so. If
too many rows are rejected, the run stops with all of them in the error.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.path_guard import link_targets
from pipeline_lib.catalogue.clips import check_clips_read, check_media
from pipeline_lib.catalogue.photos import Checked, Fault, check_photos
from pipeline_lib.catalogue.schema import (
    HEADER_AGAIN,
    LABEL_CLEARED,
    PHOTO_DROPPED,
    REJECTED,
    REJECTS,
    RETAINED,
    Records,
    conform,
    rejects_of,
)
from pipeline_lib.catalogue.thumbnails import Rows, scratch_rows
from pipeline_lib.execution.meter import current_meter
from pipeline_lib.execution.parallel import map_parallel
from pipeline_lib.params.data import DataParams

PHOTOS_PER_TASK = 128


class TooManyRejectedError(ValueError):
    """More rows are rejected than params allow; `rejects` lists all reject rows."""

    def __init__(self, message: str, rejects: pl.DataFrame) -> None:
        super().__init__(message, rejects)
        self.rejects = rejects

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Cleaned:
    """Products with readable photos only, the rejects so far, and the thumbnail and product of each good photo.

    The column `content` of `products` lists the hash of each photo's bytes. `thumbnails` is (photos, BYTES), and
    `photo_product` int64 (photos,) is the row of each photo's product in `products`.
    """

    products: pl.DataFrame
    rejects: pl.DataFrame
    thumbnails: Rows
    photo_product: NDArray[np.int64]


def clean(
    records: Records,
    data: DataParams,
    workers: int,
    parallel: str = "loky",
    clips: pl.DataFrame | None = None,
    convert_profile: bool = True,
) -> Cleaned:
    """Return cleaned products; `clips` is the table of the stage frames, None if the plan reads no clips.

    `convert_profile` is that of the shards.

    Raises ValueError if a larger fraction of rows is rejected than params allow, or for clips without a plan.
    """
    check_trainable(records, records.products)  # before the photos are decoded, which takes minutes
    clips = check_clips_read(records.products["media"], records.table, clips)
    listed = records.products.select("row", "product_id", pl.col("media").alias("path"))
    without_media = listed.filter(pl.col("path").list.len() == 0)
    photos = listed.filter(pl.col("path").list.len() > 0).explode("path")

    def check(paths: list[str]) -> Checked:
        return check_all_photos(Path(data.root), paths, data.max_pixels, workers, parallel, convert_profile)

    checked = check_media(photos["path"].to_list(), clips, check)
    photos = photos.with_columns(
        pl.Series("reason", [fault.reason if fault else None for fault in checked.faults], dtype=pl.String),
        pl.Series("value", [fault.value if fault else None for fault in checked.faults], dtype=pl.String),
        pl.Series("content", checked.contents, dtype=pl.String),
    )
    noted = _noted(photos, checked.notes)
    good = photos.filter(pl.col("reason").is_null())
    media = good.group_by("product_id", maintain_order=True).agg(pl.col("path").alias("media"), "content")
    without_photo = records.products.join(media, on="product_id", how="anti", maintain_order="left")
    bad = photos.drop("content").drop_nulls("reason")
    fate = REJECTED if data.missing_image == "reject" else RETAINED
    rejects = pl.concat(
        [records.rejects, _photo_rejects(records.table, bad, without_media, without_photo, fate), noted]
    )
    products = records.products.drop("media").join(media, on="product_id", how="left", maintain_order="left")
    if data.missing_image == "reject":
        products = products.drop_nulls("media")
    products = products.with_columns(pl.col("media", "content").fill_null([]))
    products = products.select(*records.products.columns, "content")
    check_rejected(records, rejects, len(products), data.max_reject_fraction)
    check_trainable(records, products)
    products, cleared = _clear_unknown_labels(records.table, products)
    # Evaluated products of a benchmark need no text, because the benchmark brings its own queries.
    gallery_only = pl.col("split").is_in(["val", "test"]) if records.queries is not None else pl.lit(False)
    if records.composed is not None and (products["text"] == "").all():
        gallery_only = pl.lit(True)  # photos that are found by composed queries alone
    empty = products.filter((pl.col("text") == "") & ~gallery_only.fill_null(False))
    rejects = pl.concat([rejects, cleared, rejects_of(records.table, empty, "empty text", "text", RETAINED)])
    rows = pl.DataFrame({"product_id": products["product_id"]}).with_row_index("product")
    photo_product = good.join(rows, on="product_id", how="inner", maintain_order="left")["product"]
    return Cleaned(
        products,
        rejects.sort("row", "file", nulls_last=True, maintain_order=True),
        checked.thumbnails,
        photo_product.to_numpy().astype(np.int64),
    )


def check_all_photos(
    root: Path,
    paths: list[str],
    max_pixels: int,
    workers: int,
    parallel: str = "loky",
    convert_profile: bool = True,
) -> Checked:
    """Check photos in parallel; faults and contents follow the order of `paths`, thumbnails that of good photos."""
    root, linked = root.resolve(), link_targets()
    check = partial(check_photos, root, max_pixels, linked=linked, convert_profile=convert_profile)
    tasks = [paths[start : start + PHOTOS_PER_TASK] for start in range(0, len(paths), PHOTOS_PER_TASK)]
    thumbnails = scratch_rows(len(paths))
    faults: list[Fault | None] = []
    contents: list[str] = []
    notes: list[Fault | None] = []
    num_good = 0
    parts = map_parallel(check, tasks, workers, parallel, needs=(root,))
    for part in current_meter().over(parts, "photos", len(paths), lambda part: len(part.faults)):
        good = part.thumbnails[[fault is None for fault in part.faults]]
        thumbnails[num_good : num_good + len(good)] = good
        num_good += len(good)
        faults += part.faults
        contents += part.contents
        notes += part.notes
    return Checked(faults, thumbnails[:num_good], contents, notes)


def check_rejected(records: Records, rejects: pl.DataFrame, num_products: int, max_fraction: float) -> None:
    """Raise TooManyRejectedError with the three most frequent reasons if too few rows are left, or no product."""
    rejected = rejects.filter(pl.col("action") == REJECTED)
    assert num_products + len(rejected) == records.num_rows, "a row is neither a product nor rejected"
    num_rejected = rejected.filter(pl.col("reason") != HEADER_AGAIN).height
    if num_products and num_rejected <= max_fraction * records.num_rows:
        return
    reasons = ", ".join(
        f"{reason} ({number})" for reason, number in Counter(rejected["reason"].to_list()).most_common(3)
    )
    limit = f"more than data.max_reject_fraction = {max_fraction:g} allows" if num_products else "no product is left"
    first = rejected.row(0, named=True)
    product = f" (product {first['product_id']})" if first["product_id"] else ""
    raise TooManyRejectedError(
        f"{records.table}: {num_rejected} of {records.num_rows} {records.wording.unit} rejected, {limit}: {reasons}; "
        f"first at row {first['row']}{product}: {first['reason']}, {first['file']}: {first['value'] or 'empty'}. "
        "Correct the table, its images or data.columns and data.image_folder, or raise the limit",
        rejects.sort("row", "file", nulls_last=True, maintain_order=True),
    )


def check_trainable(records: Records, products: pl.DataFrame) -> None:
    """Raise ValueError if the table puts every product into test, or into val without folds."""
    evaluated = (pl.col("split") == "test") | ((pl.col("split") == "val") & pl.col("fold").is_null())
    if len(products) and products.select(evaluated.fill_null(False).all()).item():
        parts = " and ".join(sorted(products["split"].unique()))
        raise ValueError(
            f"{records.table}: all {len(products)} products are in {parts}, and nothing is left to train on; "
            f"{records.wording.add_training}"
        )


def _photo_rejects(
    table: str, bad: pl.DataFrame, without_media: pl.DataFrame, without_photo: pl.DataFrame, fate: str
) -> pl.DataFrame:
    """Return a row for each bad photo and for each product without media.

    The action of the first row of a product without any good photo is `fate`; that of all other rows is PHOTO_DROPPED.
    """
    missing = without_media.with_columns(
        pl.lit(None, dtype=pl.String).alias("path"),
        pl.lit("missing image").alias("reason"),
        pl.lit("no photo found").alias("value"),
    )
    rows = pl.concat([bad, missing.select(bad.columns)])
    is_first = pl.int_range(pl.len()).over("product_id") == 0
    has_no_photo = pl.col("product_id").is_in(without_photo["product_id"].implode())
    action = pl.when(is_first & has_no_photo).then(pl.lit(fate)).otherwise(pl.lit(PHOTO_DROPPED))
    return conform(rows.with_columns(action.alias("action"), pl.col("path").fill_null(table).alias("file")), REJECTS)


def _noted(photos: pl.DataFrame, notes: list[Fault | None]) -> pl.DataFrame:
    """Return a reject row for each photo that is used although something about it is unusual."""
    rows = photos.select("row", "product_id", pl.col("path").alias("file")).with_columns(
        pl.Series("reason", [note.reason if note else None for note in notes], dtype=pl.String),
        pl.Series("value", [note.value if note else None for note in notes], dtype=pl.String),
        pl.lit(RETAINED).alias("action"),
    )
    return conform(rows.drop_nulls("reason"), REJECTS)


def _clear_unknown_labels(table: str, products: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Remove labels that only test rows have, because no model could learn them; return products and reject rows."""
    known = products.filter(pl.col("split").is_null() | (pl.col("split") != "test"))["label"].drop_nulls().unique()
    unknown = pl.col("label").is_not_null() & ~pl.col("label").is_in(known.implode())
    cleared = rejects_of(table, products.filter(unknown), "label only in test", "label", LABEL_CLEARED)
    return products.with_columns(pl.when(~unknown).then(pl.col("label")).alias("label")), cleared

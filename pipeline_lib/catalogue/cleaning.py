"""Opens every photo, and accounts for whatever cannot be used: nothing is dropped without a row that says why.

A product loses its bad photos; only when none is left is it rejected (or, if params say so, kept with a black
picture). A row too many rejected stops the run before anything is written.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.catalogue.photos import GRID, Checked, Fault, check_photos
from pipeline_lib.catalogue.schema import (
    KEPT,
    LABEL_CLEARED,
    PHOTO_DROPPED,
    REJECTED,
    REJECTS,
    Records,
    conform,
    rejects_of,
)
from pipeline_lib.execution.parallel import map_parallel
from pipeline_lib.params.data import DataParams

PHOTOS_PER_TASK = 128


@dataclass(frozen=True)
class Cleaned:
    """Products with readable photos only, all rejects so far, and each photo's grid and product.

    The products' column `content` holds the hash of each photo's bytes; `grids` is uint8 (photos, 9, 9, 3);
    `photo_product` int64 (photos,) is the row in `products` of each good photo.
    """

    products: pl.DataFrame
    rejects: pl.DataFrame
    grids: NDArray[np.uint8]
    photo_product: NDArray[np.int64]


def clean(records: Records, data: DataParams, workers: int, parallel: str = "loky") -> Cleaned:
    """Check every photo and account for the bad; ValueError if a larger share of rows is rejected than params allow."""
    listed = records.products.select("row", "product_id", pl.col("media").alias("path"))
    bare = listed.filter(pl.col("path").list.len() == 0)
    photos = listed.filter(pl.col("path").list.len() > 0).explode("path")
    checked = check_all(Path(data.root), photos["path"].to_list(), data.max_pixels, workers, parallel)
    photos = photos.with_columns(
        pl.Series("reason", [fault.reason if fault else None for fault in checked.faults], dtype=pl.String),
        pl.Series("value", [fault.value if fault else None for fault in checked.faults], dtype=pl.String),
        pl.Series("content", checked.contents, dtype=pl.String),
    )
    good = photos.filter(pl.col("reason").is_null())
    media = good.group_by("product_id", maintain_order=True).agg(pl.col("path").alias("media"), "content")
    lost = records.products.join(media, on="product_id", how="anti", maintain_order="left")
    told = _photo_rejects(records.table, photos.drop("content"), bare, lost, data.missing_image)
    rejects = pl.concat([records.rejects, told])
    products = records.products.drop("media").join(media, on="product_id", how="left", maintain_order="left")
    if data.missing_image == "reject":
        products = products.drop_nulls("media")
    products = products.with_columns(pl.col("media", "content").fill_null([]))
    products = products.select(*records.products.columns, "content")
    check_rejected(records, rejects, len(products), data.max_reject_fraction)
    products, cleared = _clear_unknown_labels(records.table, products)
    # What only queries look for needs no text: half of a benchmark's gallery has none.
    looked_for = pl.col("split").is_in(["val", "test"]) if records.queries is not None else pl.lit(False)
    empty = products.filter((pl.col("text") == "") & ~looked_for.fill_null(False))
    rejects = pl.concat([rejects, cleared, rejects_of(records.table, empty, "empty text", "text", KEPT)])
    rows = pl.DataFrame({"product_id": products["product_id"]}).with_row_index("product")
    owner = good.join(rows, on="product_id", how="inner", maintain_order="left")["product"]
    return Cleaned(
        products,
        rejects.sort("row", "file", nulls_last=True, maintain_order=True),
        checked.grids,
        owner.to_numpy().astype(np.int64),
    )


def check_all(root: Path, paths: list[str], max_pixels: int, workers: int, parallel: str = "loky") -> Checked:
    """Check photos in parallel; faults are in the order of `paths`, grids likewise but of the good photos only."""
    root = root.resolve()
    check = partial(check_photos, root, max_pixels)
    tasks = [paths[start : start + PHOTOS_PER_TASK] for start in range(0, len(paths), PHOTOS_PER_TASK)]
    grids = np.zeros((len(paths), GRID, GRID, 3), dtype=np.uint8)
    faults: list[Fault | None] = []
    contents: list[str] = []
    num_good = 0
    for part in map_parallel(check, tasks, workers, parallel, needs=(root,)):
        good = part.grids[[fault is None for fault in part.faults]]
        grids[num_good : num_good + len(good)] = good
        num_good += len(good)
        faults += part.faults
        contents += part.contents
    return Checked(faults, grids[:num_good], contents)


def check_rejected(records: Records, rejects: pl.DataFrame, num_products: int, max_fraction: float) -> None:
    """Raise ValueError, with the three most frequent reasons, if too much was rejected or nothing is left."""
    lost = rejects.filter(pl.col("action") == REJECTED)
    assert num_products + len(lost) == records.num_rows, "a row is neither kept nor rejected"
    if num_products and len(lost) <= max_fraction * records.num_rows:
        return
    often = ", ".join(f"{reason} ({number})" for reason, number in Counter(lost["reason"].to_list()).most_common(3))
    limit = f"more than data.max_reject_fraction = {max_fraction:g} allows" if num_products else "no product is left"
    first = lost.row(0, named=True)
    raise ValueError(
        f"{records.table}: {len(lost)} of {records.num_rows} rows rejected, {limit}: {often}; first at row "
        f"{first['row']} ({first['product_id']}, {first['value']!r}). "
        "Mend the table, its images or data.columns and data.image_folder, or raise the limit"
    )


def _photo_rejects(
    table: str, photos: pl.DataFrame, bare: pl.DataFrame, lost: pl.DataFrame, missing_image: str
) -> pl.DataFrame:
    """One row for each bad photo; a product that is lost loses itself with its first row, and has one in any case."""
    fate = REJECTED if missing_image == "reject" else KEPT
    without = bare.with_columns(
        pl.lit(None, dtype=pl.String).alias("path"),
        pl.lit("missing image").alias("reason"),
        pl.lit("no photo found").alias("value"),
    )
    bad = pl.concat([photos.drop_nulls("reason"), without.select(photos.columns)])
    first = pl.int_range(pl.len()).over("product_id") == 0
    is_lost = pl.col("product_id").is_in(lost["product_id"].implode())
    action = pl.when(first & is_lost).then(pl.lit(fate)).otherwise(pl.lit(PHOTO_DROPPED))
    told = bad.with_columns(action.alias("action"), pl.col("path").fill_null(table).alias("file"))
    return conform(told, REJECTS)


def _clear_unknown_labels(table: str, products: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take away labels that only rows given as test have: no model could have learnt them."""
    known = products.filter(pl.col("split").is_null() | (pl.col("split") != "test"))["label"].drop_nulls().unique()
    unknown = pl.col("label").is_not_null() & ~pl.col("label").is_in(known.implode())
    cleared = rejects_of(table, products.filter(unknown), "label only in test", "label", LABEL_CLEARED)
    return products.with_columns(pl.when(~unknown).then(pl.col("label")).alias("label")), cleared

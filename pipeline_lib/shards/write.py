"""Writes the photos of media.parquet into tars, with a manifest and counts.

Photos keep the catalogue's order and do not depend on folds, so a new split never writes them again. Each worker writes
complete tars. The order alone decides which tar holds which photo, so the bytes do not depend on the workers.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.path_guard import check_beside, link_targets
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.artifacts.schemas import FRAMES_SCHEMA, FRAMES_TABLE
from pipeline_lib.execution.meter import current_meter
from pipeline_lib.execution.parallel import map_parallel
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.tars import ShardPhoto, ShardRows, ShardTask, ShardWriter, StoredFrame

# The fields of a StoredFrame.
FRAME_COLUMNS = StoredFrame._fields
MANIFEST = "manifest.parquet"
META = "meta.json"


def write_shards(
    photos: pl.DataFrame, root: Path, params: ShardsParams, out: Path, workers: int, parallel: str = "loky"
) -> dict[str, int]:
    """Write shards, manifest and meta of `list_photos`, whose paths are inside root; return the meta.

    Raises ValueError for a photo that cannot be read, OSError when a tar cannot be written.
    """
    local = parallel == "loky"
    stage_pid = os.getpid() if local else None
    convert = params.colour_profile == "convert"
    writer = ShardWriter(root, params.size, params.quality, stage_pid, convert, link_targets())
    # A cluster's worker may outlive a killed stage, so it writes into a folder of this run alone.
    target = out if local else out / f".{uuid.uuid4().hex}"
    target.mkdir(exist_ok=True)
    shards = []
    written = map_parallel(writer, _tasks(photos, params.photos_per_shard, target), workers, parallel, (root, target))
    for shard in current_meter().over(written, "photos", len(photos), lambda shard: len(shard.size)):
        if not local:
            (target / shard.tar).rename(out / shard.tar)
        shards.append(shard)
    if not local:
        target.rmdir()
    manifest = photos.select("product_id", "photo").hstack(_places(shards))
    write_table(manifest, out / MANIFEST)
    passed = sum(shard.num_passed for shard in shards)
    black = sum(shard.num_black for shard in shards)
    meta = {
        "photos": len(photos),
        "bytes": sum(sum(shard.size) for shard in shards),
        "passed_through": passed,
        "black": black,
        "re_encoded": len(photos) - passed - black,
        "size": params.size,
        "quality": params.quality,
    }
    write_json(out / META, meta)
    return meta


def list_photos(media: pl.DataFrame, clips: Path | None = None) -> pl.DataFrame:
    """Return one row per photo: product_id, photo (its number in the product), path, and the columns of its frame.

    `media` has product_id and media, a list of paths. A product without media has one row, whose path is null and which
    becomes a black photo. A clip has a row for each of its frames in the folder `clips` of the stage frames; other rows
    have nulls in FRAME_COLUMNS. Raises ValueError for no or repeated products.
    """
    if media.is_empty():
        raise ValueError("the catalogue has no products, so there are no photos to write")
    repeated = media.filter(pl.col("product_id").is_duplicated())
    if not repeated.is_empty():
        raise ValueError(f"product {repeated['product_id'][0]!r} is twice in the catalogue's media.parquet")
    rows = media.select("product_id", path="media").explode("path", empty_as_null=True, keep_nulls=True)
    if clips is None:
        frames = pl.DataFrame(schema=FRAMES_SCHEMA)
    else:
        frames = read_table(clips / FRAMES_TABLE, list(FRAMES_SCHEMA))
        check_beside(clips / FRAMES_TABLE, frames["tar"].unique())
        frames = frames.with_columns(tar=f"{clips.as_posix()}/" + pl.col("tar"))
    rows = rows.join(frames, left_on="path", right_on="media", how="left", maintain_order="left_right")
    photo = pl.int_range(pl.len()).over("product_id").alias("photo")
    return rows.select("product_id", photo, "path", *FRAME_COLUMNS)


def _tasks(photos: pl.DataFrame, per_shard: int, out: Path) -> Iterator[ShardTask]:
    for index, first in enumerate(range(0, len(photos), per_shard)):
        rows = [_photo(*row) for row in photos.slice(first, per_shard).iter_rows()]
        yield ShardTask(out / f"shard-{index:05d}.tar", first, rows)


def _photo(product_id: str, photo: int, path: str | None, *frame: Any) -> ShardPhoto:
    stored = None if frame[0] is None else StoredFrame(Path(frame[0]), *frame[1:])
    return ShardPhoto(product_id, photo, path, stored)


def _places(shards: list[ShardRows]) -> pl.DataFrame:
    frames = [
        pl.DataFrame(
            {"offset": shard.offset, "size": shard.size, "width": shard.width, "height": shard.height},
            schema_overrides=dict.fromkeys(("offset", "size", "width", "height"), pl.Int64),
        ).select(pl.lit(shard.tar).alias("shard"), pl.all())
        for shard in shards
    ]
    return pl.concat(frames).rechunk()

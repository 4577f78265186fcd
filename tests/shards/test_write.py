from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.write import list_photos, write_shards

PARAMS = ShardsParams(size=24, quality=90, photos_per_shard=4, colour_profile="convert")
MEDIA_TYPES = {"product_id": pl.String, "media": pl.List(pl.String)}


def shop(root: Path, num_products: int = 9) -> pl.DataFrame:
    """Write small and large photos, 0 to 3 per product; return the frame of media.parquet."""
    rng = np.random.default_rng(3)
    media: list[list[str]] = []
    for product in range(num_products):
        names = [f"{product}_{photo}.{'png' if photo == 2 else 'jpg'}" for photo in range(product % 4)]
        for photo, name in enumerate(names):
            side = 20 + 15 * photo
            Image.fromarray(rng.integers(0, 256, (side, side + product, 3), dtype=np.uint8)).save(root / name)
        media.append(names)
    ids = [f"p{product}" for product in range(num_products)]
    return pl.DataFrame({"product_id": ids, "media": media}, schema=MEDIA_TYPES)


@pytest.mark.parametrize("workers", [1, 2])
def test_bytes_do_not_depend_on_run_or_workers(tmp_path: Path, workers: int) -> None:
    media = shop(tmp_path)
    digests = []
    for name, count in (("first", 1), ("second", workers)):
        out = tmp_path / name
        out.mkdir()
        write_shards(list_photos(media), tmp_path, PARAMS, out, count)
        digests.append(digest_folder(out))
    assert digests[0] == digests[1]


def test_manifest_and_meta_describe_the_photos(tmp_path: Path) -> None:
    media = shop(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    meta = write_shards(list_photos(media), tmp_path, PARAMS, out, 1)
    manifest = pl.read_parquet(out / "manifest.parquet")
    assert manifest.schema == {
        "product_id": pl.String,
        "photo": pl.Int64,
        "shard": pl.String,
        "offset": pl.Int64,
        "size": pl.Int64,
        "width": pl.Int64,
        "height": pl.Int64,
    }
    expected = [(f"p{i}", photo) for i in range(9) for photo in range(max(1, i % 4))]
    assert manifest.select("product_id", "photo").rows() == expected
    assert manifest["shard"].to_list() == [f"shard-{row // 4:05d}.tar" for row in range(len(expected))]
    assert manifest.select(pl.min_horizontal("width", "height")).max().item() == 24
    # 9 products have 0, 1, 2, 3, 0, 1, 2, 3, 0 photos. The first photo (20 px) of six passes, and three have no photo.
    assert meta == {
        "photos": 15,
        "bytes": manifest["size"].sum(),
        "passed_through": 6,
        "black": 3,
        "re_encoded": 6,
        "size": 24,
        "quality": 90,
    }
    assert read_object(out / "meta.json") == meta


def test_an_empty_and_a_missing_list_both_give_one_black_photo() -> None:
    media = pl.DataFrame({"product_id": ["a", "b", "c"], "media": [["x", "y"], [], None]}, schema=MEDIA_TYPES)
    photos = list_photos(media).select("product_id", "photo", "path")
    assert photos.rows() == [("a", 0, "x"), ("a", 1, "y"), ("b", 0, None), ("c", 0, None)]


def test_no_product_and_a_repeated_product_are_refused() -> None:
    with pytest.raises(ValueError, match="no product"):
        list_photos(pl.DataFrame(schema=MEDIA_TYPES))
    with pytest.raises(ValueError, match=r"'b' is twice in the catalogue's media\.parquet"):
        list_photos(pl.DataFrame({"product_id": ["a", "b", "b"], "media": [[], [], []]}, schema=MEDIA_TYPES))


def test_an_error_in_a_worker_process_keeps_its_message(tmp_path: Path) -> None:
    media = shop(tmp_path)
    (tmp_path / "7_1.jpg").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"7_1\.jpg: photo 1 of product 'p7' changed since"):
        write_shards(list_photos(media), tmp_path, PARAMS, tmp_path / "out", 2)

"""Shards at a URL: the same bytes as here, in every process, and one line where they are not to be had."""

import multiprocessing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader, open_shards
from pipeline_lib.shards.write import list_photos, write_shards

NUM_PRODUCTS = 11


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    root, out = tmp_path / "raw", tmp_path / "shards"
    root.mkdir()
    out.mkdir()
    for number in range(NUM_PRODUCTS):
        Image.fromarray(rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)).save(root / f"{number}.png")
    media = [[f"{number}.png", "0.png"][: 1 + number % 2] for number in range(NUM_PRODUCTS)]
    table = pl.DataFrame({"product_id": [f"p{number}" for number in range(NUM_PRODUCTS)], "media": media})
    params = ShardsParams(size=16, quality=90, photos_per_shard=3, colour_profile="convert")
    write_shards(list_photos(table), root, params, out, 1)
    return out


def test_a_url_gives_the_photos_of_the_folder(folder: Path, s3) -> None:
    local, remote = ShardReader(Manifest(folder)), open_shards(folder, s3(folder))
    assert len(local) == len(remote) == 16
    assert remote.manifest.tars[1] == f"{remote.manifest.location}/shard-00001.tar"
    rows = np.random.default_rng(1).permutation(16).tolist() * 2
    expected = [local.read(row) for row in rows]
    assert [remote.read(row) for row in rows] == expected
    assert list(remote.read_all(rows)) == list(local.read_all(rows)) == expected
    assert list(remote.read_all([])) == []
    assert list(remote.manifest.photos_of("p3")) == list(local.manifest.photos_of("p3"))


def _read_all(reader: ShardReader, rows: list[int], answers) -> None:
    answers.put(list(reader.read_all(rows)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_read_after_the_parent_has(folder: Path, s3, method: str) -> None:
    reader = open_shards(folder, s3(folder))
    expected = [reader.read(row) for row in (9, 0, 5)]
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    children = [context.Process(target=_read_all, args=(reader, [9, 0, 5], answers)) for _ in range(2)]
    for child in children:
        child.start()
    results = [answers.get(timeout=60) for _ in children]
    assert [reader.read(row) for row in (9, 0, 5)] == expected
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert results == [expected, expected]


def test_another_catalogues_shards_are_refused(folder: Path, s3, tmp_path: Path) -> None:
    url = s3(folder)
    media = pl.DataFrame({"product_id": ["p0"], "media": [[]]}, schema_overrides={"media": pl.List(pl.String)})
    other = tmp_path / "other"
    other.mkdir()
    params = ShardsParams(size=16, quality=90, photos_per_shard=3, colour_profile="convert")
    write_shards(list_photos(media), tmp_path, params, other, 1)
    with pytest.raises(ValueError, match=rf"{url}/manifest\.parquet: differs from .*other/manifest\.parquet"):
        open_shards(other, url)
    (other / "manifest.parquet").unlink()
    with pytest.raises(ValueError, match=r"manifest\.parquet: no such file to compare .* `dvc pull"):
        open_shards(other, url)
    assert open_shards(folder, None).manifest.location == folder


def test_a_missing_or_truncated_tar_is_named(folder: Path, s3) -> None:
    import s3fs

    url = s3(folder)
    system, tar = s3fs.S3FileSystem(), f"{url}/shard-00002.tar"
    reader = open_shards(folder, url)
    data = system.cat_file(tar)
    last = int(reader.manifest.offset[8])
    system.pipe_file(tar, data[: last + 100])
    with pytest.raises(ValueError, match=r"shard-00002\.tar: truncated inside photo 8"):
        reader.read(8)
    with pytest.raises(ValueError, match=rf"-00002\.tar: {last + 100:,} bytes .*Copy data/work/shards there again"):
        Manifest(url)
    system.rm_file(tar)
    with pytest.raises(ValueError, match=r"shard-00002\.tar: nothing there; copy the folder"):
        list(reader.read_all([0, 8]))
    with pytest.raises(ValueError, match=r"shard-00002\.tar: 0 bytes"):
        Manifest(url)
    with pytest.raises(ValueError, match=r"none/manifest\.parquet: nothing there"):
        Manifest(f"{url}/none")

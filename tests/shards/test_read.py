import gc
import json
import multiprocessing
import pickle
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import webdataset
from PIL import Image

from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards

NUM_PHOTOS = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    names = [f"{row}.{('jpg', 'png', 'webp')[row % 3]}" for row in range(NUM_PHOTOS)]
    for row, name in enumerate(names):
        Image.fromarray(rng.integers(0, 256, (10 + row, 20, 3), dtype=np.uint8)).save(root / name)
    media = pl.DataFrame({"product_id": [name[:-4] for name in names], "media": [[name] for name in names]})
    out = root / "shards"
    out.mkdir()
    params = ShardsParams(size=16, quality=90, photos_per_shard=4, colour_profile="convert")
    write_shards(list_photos(media), root, params, out, 1)
    return out


def extracted(folder: Path) -> dict[str, bytes]:
    """Return every member of every tar, read with tarfile."""
    members = {}
    for tar in sorted(folder.glob("*.tar")):
        with tarfile.open(tar) as archive:
            members |= {member.name: archive.extractfile(member).read() for member in archive}
    return members


def images(folder: Path) -> list[bytes]:
    return [data for name, data in sorted(extracted(folder).items()) if not name.endswith(".json")]


def test_random_access_equals_extraction(folder: Path) -> None:
    reader = ShardReader(Manifest(folder))
    assert len(reader) == NUM_PHOTOS
    expected = images(folder)
    for row in np.random.default_rng(1).permutation(NUM_PHOTOS).tolist() * 2:
        assert reader.read(row) == expected[row]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to the garbage collector
def test_webdataset_streams_the_same_tars(folder: Path) -> None:
    tars = [str(path) for path in Manifest(folder).tars]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    gc.collect()
    members = extracted(folder)
    assert [sample["__key__"] for sample in samples] == [f"{row:09d}" for row in range(NUM_PHOTOS)]
    for row, (sample, image) in enumerate(zip(samples, images(folder), strict=True)):
        (kind,) = {"jpg", "png", "webp"} & set(sample)
        assert sample[kind] == image == members[f"{row:09d}.{kind}"]
        assert json.loads(sample["json"]) == json.loads(members[f"{row:09d}.json"])


def _read_all(reader: ShardReader, rows: list[int], answers) -> None:
    answers.put([reader.read(row) for row in rows])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_in_another_process_reads_the_same(folder: Path, method: str) -> None:
    reader = ShardReader(Manifest(folder))
    reader.read(0)
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=_read_all, args=(reader, [9, 0, 5], answers))
    child.start()
    result = answers.get(timeout=60)
    child.join()
    assert result == [images(folder)[row] for row in (9, 0, 5)]
    assert pickle.loads(pickle.dumps(reader)).read(3) == reader.read(3)


def test_no_file_stays_open(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = ShardReader(Manifest(folder))
    reader.read(4)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_tar_truncated_or_removed_after_opening_is_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    reader = ShardReader(Manifest(tmp_path))
    tar = tmp_path / "shard-00002.tar"
    tar.write_bytes(tar.read_bytes()[:-1600])
    with pytest.raises(ValueError, match=r"shard-00002\.tar: truncated inside photo 10"):
        reader.read(10)
    tar.unlink()
    with pytest.raises(ValueError, match=r"shard-00002\.tar: missing"):
        reader.read(10)

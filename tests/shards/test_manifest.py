import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.artifacts.schemas import FRAMES_SCHEMA
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.write import list_photos, write_shards

# Products without media (one black photo each), not sorted, some with ids outside ASCII.
IDS = ["mug", "Mug", "红色", "b", "", "a-10", "a-9", "é", "😀", "zz"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    media = pl.DataFrame({"product_id": IDS, "media": [[]] * len(IDS)}, schema_overrides={"media": pl.List(pl.String)})
    params = ShardsParams(size=8, quality=80, photos_per_shard=3, colour_profile="convert")
    write_shards(list_photos(media), tmp_path, params, tmp_path, 1)
    return tmp_path


def test_every_product_has_its_rows(folder: Path) -> None:
    manifest = Manifest(folder)
    assert len(manifest) == len(IDS)
    assert manifest.product_ids.tolist() == IDS
    assert [manifest.photos_of(product_id) for product_id in IDS] == [range(i, i + 1) for i in range(len(IDS))]
    assert [path.name for path in manifest.tars] == [f"shard-0000{i}.tar" for i in range(4)]
    assert manifest.tar.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("unknown", ["nobody", "~", "龟", "a"])
def test_an_unknown_product_is_named(folder: Path, unknown: str) -> None:
    manifest = Manifest(folder)
    with pytest.raises(ValueError, match=f"product '{unknown}' has no photo"):
        manifest.photos_of(unknown)


def test_a_pickled_manifest_is_the_same(folder: Path) -> None:
    copied = pickle.loads(pickle.dumps(Manifest(folder)))
    assert [copied.photos_of(product_id).start for product_id in IDS] == list(range(len(IDS)))


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_rows_equal_a_slow_loop(tmp_path_factory, counts: list[int], seed: int) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    ids = [f"p{number}" for number in np.random.default_rng(seed).permutation(len(counts))]
    rows = [(product_id, photo) for product_id, count in zip(ids, counts, strict=True) for photo in range(count)]
    table = pl.DataFrame(rows, schema=["product_id", "photo"], orient="row")
    table = table.with_columns(shard=pl.lit("s.tar"), offset=pl.int_range(pl.len()) * 1024 + 512, size=pl.lit(7))
    table.write_parquet(folder / "manifest.parquet")
    (folder / "s.tar").write_bytes(bytes(len(rows) * 1024 + 1024))
    manifest = Manifest(folder)
    for product_id in ids:
        assert list(manifest.photos_of(product_id)) == [row for row, photo in enumerate(rows) if photo[0] == product_id]


@pytest.mark.parametrize("cut", [1, 600, 1500])
def test_a_truncated_tar_is_named(folder: Path, cut: int) -> None:
    tar = folder / "shard-00001.tar"
    size = tar.stat().st_size
    tar.write_bytes(tar.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=rf"shard-00001\.tar: {size - cut:,} bytes where the manifest says {size:,}"):
        Manifest(folder)


def test_a_missing_tar_and_a_missing_manifest_are_named(folder: Path) -> None:
    (folder / "shard-00003.tar").unlink()
    with pytest.raises(ValueError, match=r"shard-00003\.tar: 0 bytes .* `dvc repro shards`"):
        Manifest(folder)
    (folder / "manifest.parquet").unlink()
    with pytest.raises(ValueError, match=r"manifest\.parquet: no such file"):
        Manifest(folder)


@pytest.mark.parametrize("name", ["../away/shard-00000.tar", "{away}/shard-00000.tar", "deep/shard-00000.tar"])
def test_a_tar_that_is_not_beside_the_manifest_is_refused(folder: Path, name: str) -> None:
    name = name.format(away=folder.parent / "away")
    (folder.parent / "away").mkdir(exist_ok=True)
    (folder / "deep").mkdir()
    for place in (folder.parent / "away", folder / "deep"):
        (place / "shard-00000.tar").write_bytes((folder / "shard-00000.tar").read_bytes())
    table = pl.read_parquet(folder / "manifest.parquet").with_columns(pl.col("shard").replace("shard-00000.tar", name))
    table.write_parquet(folder / "manifest.parquet")
    with pytest.raises(ValueError, match=rf"manifest\.parquet: damaged.*{name}', which is no name of a file beside it"):
        Manifest(folder)


@pytest.mark.parametrize(
    ("tar", "reason"), [("../x.tar", "'../x.tar', which is no name of a file beside it"), (7, "'tar' is Int64, not St")]
)
def test_a_table_of_frames_names_tars_of_its_folder(tmp_path: Path, tar: object, reason: str) -> None:
    row = dict.fromkeys(FRAMES_SCHEMA, 1) | {"media": "a.mp4", "time": 0.5, "tar": tar}
    schema = FRAMES_SCHEMA if isinstance(tar, str) else FRAMES_SCHEMA | {"tar": pl.Int64}
    pl.DataFrame([row], schema).write_parquet(tmp_path / "frames.parquet")
    media = pl.DataFrame({"product_id": ["a"], "media": [["a.mp4"]]})
    with pytest.raises(ValueError, match=rf"frames\.parquet: damaged.*{reason}"):
        list_photos(media, tmp_path)

"""Tables and tars of the stage frames, and the shards made of them: each damage is one line with its name."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from damages import GROSS, refused_damages
from made_clips import Kind, write_clip

from pipeline_lib.catalogue.clips import read_clips
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.clip_reader import ClipReader
from pipeline_lib.shards.frames import write_frames
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards

SHARDS = ShardsParams(size=32, quality=90, photos_per_shard=9, colour_profile="convert")
MEDIA = pl.DataFrame({"product_id": ["a", "b"], "media": [["a.mp4"], ["b.mp4"]]})


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("frames")
    for name in ("a.mp4", "b.mp4"):
        write_clip(root / name, Kind("", "libx264", count=20))
    (root / "out").mkdir()
    params = FramesParams(count=3, sampling="uniform", fps=1.0)
    write_frames(("a.mp4", "b.mp4"), ClipReader(root.resolve(), params, 32, 90, 10**6), 2, root / "out", 1)
    return root / "out"


def test_the_tables_and_the_tars_of_frames(frames, tmp_path):
    """A frame that is damaged inside its tar is found when it is decoded, as a photo is."""

    def read():
        read_clips(frames)
        shards = tmp_path / "shards"
        shutil.rmtree(shards, ignore_errors=True)
        shards.mkdir()
        write_shards(list_photos(MEDIA, frames), frames, SHARDS, shards, 1)
        photos = PhotoViews(ShardReader(Manifest(shards)), 32)
        photos.load(np.arange(len(photos.reader)), [(0,)] * len(photos.reader))

    files = sorted(path for path in frames.iterdir() if path.suffix in (".parquet", ".tar"))
    refused, accepted = refused_damages(files, read, names=("shard-00000.tar",))
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not {one for one in accepted if one[1] in GROSS}

"""Clips from the raw table to the shards: the stage frames, the catalogue's rejects, the photos of a product."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn_records import data_params, records
from machine_names import files_in, naming
from made_clips import Kind, number_of, numbered, write_clip
from PIL import Image

from pipeline_lib.artifacts.digests import digest_path
from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.clips import read_clips
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.clip_reader import ClipReader, contact_sheet
from pipeline_lib.shards.frames import write_frames
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.photo import store_pixels
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards

PARAMS = FramesParams(count=4, sampling="uniform", fps=1.0)
NAMES = ("a.mp4", "b.webm", "cut.mkv", "few.gif", "still.gif", "missing.mp4", "../outside.mp4", "photo.png")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Clips, a truncated one, one of 3 frames, and pictures that do not move."""
    root = tmp_path_factory.mktemp("clips")
    write_clip(root / "a.mp4", Kind("", "libx264", count=20))
    write_clip(root / "b.webm", Kind("", "libvpx-vp9", size=(48, 64), options={"deadline": "realtime"}))
    data = write_clip(root / "cut.mkv", Kind("", "mpeg4")).read_bytes()
    (root / "cut.mkv").write_bytes(data[: len(data) // 2])
    write_clip(root / "few.gif", Kind("", "gif", pixels="rgb8", count=3))
    Image.fromarray(numbered(9, 64, 48)).save(root / "still.gif")
    Image.fromarray(numbered(11, 64, 48)).save(root / "photo.png")
    return root


def frames_of(raw: Path, out: Path, workers: int = 1, names=NAMES, count: int = 4) -> dict:
    out.mkdir()
    params = FramesParams(count=count, sampling="uniform", fps=1.0)
    return write_frames(names, ClipReader(raw.resolve(), params, 32, 90, 10**6), 2, out, workers)


def test_tars_and_tables_are_those_of_webdataset_and_count_everything(other_machine, raw, tmp_path):
    meta = frames_of(raw, tmp_path / "out")
    assert {key: value for key, value in meta.items() if key != "bytes"} == {
        "clips": 6, "used": 3, "frames": 11,
        "refused": {"missing image": 1, "truncated clip": 1, "unsafe path": 1},
        "notes": {"fewer frames than frames.count": 1},
    }  # fmt: skip
    assert json.loads((tmp_path / "out/meta.json").read_text()) == meta
    assert not naming(files_in(tmp_path / "out"), str(tmp_path), str(raw))
    clips = read_clips(tmp_path / "out")
    assert clips["media"].to_list() == ["a.mp4", "b.webm", "cut.mkv", "few.gif", "missing.mp4", "../outside.mp4"]
    assert clips["frames"].to_list() == [4, 4, 0, 3, 0, 0]
    assert clips["thumbnail"].is_null().to_list() == clips["reason"].is_not_null().to_list()
    assert clips["content"].str.len_bytes().to_list() == [64, 64, 64, 64, 0, 0]
    table = pl.read_parquet(tmp_path / "out/frames.parquet")
    for media, numbers in (("a.mp4", [2, 7, 12, 17]), ("few.gif", [0, 1, 2])):
        rows = table.filter(pl.col("media") == media)
        assert rows["frame"].to_list() == list(range(len(numbers)))
        assert rows["time"].to_list() == pytest.approx([number / 25 for number in numbers], abs=0.011)
    assert set(zip(table["width"], table["height"], strict=True)) == {(43, 32), (32, 43)}
    with tarfile.open(tmp_path / "out/frames-00000.tar") as tar:
        assert tar.getnames()[:5] == ["000000000.json", *(f"000000000.{number:03d}.jpg" for number in range(4))]
        about = json.load(tar.extractfile("000000000.json"))
        assert about == {"media": "a.mp4", "times": table["time"].to_list()[:4], "duration": 0.8}
        first = tar.getmember("000000000.000.jpg")
        assert (first.offset_data, first.size) == (table["offset"][0], table["size"][0])
        assert number_of(np.asarray(Image.open(tar.extractfile("000000000.003.jpg")))) == 17


def test_the_bytes_do_not_depend_on_the_workers(raw, tmp_path):
    for workers in (1, 2):
        frames_of(raw, tmp_path / str(workers), workers)
    assert digest_path(tmp_path / "1") == digest_path(tmp_path / "2")


@pytest.fixture
def catalogue_of(records, data_params):
    """Return a function that builds the catalogue of a folder, with the media of each product."""

    def build(root: Path, media: dict[str, list[str]], clips: pl.DataFrame | None, **changes):
        rows = [{"product_id": key, "media": names, "text": f"text of {key}"} for key, names in media.items()]
        return build_catalogue(records(rows), data_params(root=str(root), **changes), 1, clips=clips)

    return build


MEDIA = {
    "moving": ["a.mp4"], "both": ["b.webm", "photo.png"], "cut": ["cut.mkv"], "few": ["few.gif"],
    "still": ["still.gif"],
}  # fmt: skip


def test_a_clip_is_one_medium_in_the_catalogue_and_several_photos_in_the_shards(raw, tmp_path, catalogue_of):
    frames_of(raw, tmp_path / "frames")
    catalogue = catalogue_of(raw, MEDIA, read_clips(tmp_path / "frames"), max_reject_fraction=0.5)
    assert catalogue.products["product_id"].to_list() == ["moving", "both", "few", "still"]
    assert catalogue.media["media"].to_list() == [["a.mp4"], ["b.webm", "photo.png"], ["few.gif"], ["still.gif"]]
    rejects = catalogue.rejects.select("product_id", "file", "reason", "action").rows()
    assert ("cut", "cut.mkv", "truncated clip", "rejected") in rejects
    assert ("few", "few.gif", "fewer frames than frames.count", "kept") in rejects
    (tmp_path / "shards").mkdir()
    params = ShardsParams(size=32, quality=90, photos_per_shard=5, colour_profile="convert")
    photos = list_photos(catalogue.media, tmp_path / "frames")
    meta = write_shards(photos, raw, params, tmp_path / "shards", 1)
    assert meta["photos"] == 4 + 5 + 3 + 1
    reader = ShardReader(Manifest(tmp_path / "shards"))
    shown = {
        key: [number_of(np.asarray(Image.open(io.BytesIO(reader.read(row))).convert("RGB"))) for row in rows]
        for key in ("moving", "both", "few", "still")
        for rows in [reader.manifest.photos_of(key)]
    }
    assert shown == {"moving": [2, 7, 12, 17], "both": [2, 7, 12, 17, 11], "few": [0, 1, 2], "still": [9]}
    table = pl.read_parquet(tmp_path / "frames/frames.parquet")
    with (tmp_path / "frames" / table["tar"][0]).open("rb") as tar:
        tar.seek(table["offset"][0])
        assert reader.read(reader.manifest.photos_of("moving")[0]) == tar.read(table["size"][0])


def test_without_a_plan_clips_are_one_error_and_moving_pictures_are_photos(raw, catalogue_of):
    message = r"^.*: 3 of 6 media are clips, the first a\.mp4, but plan\.frames is empty; set plan\.frames = \[clips\]$"
    with pytest.raises(ValueError, match=message):
        catalogue_of(raw, MEDIA, None)
    catalogue = catalogue_of(raw, {"few": ["few.gif"], "still": ["still.gif"]}, None)
    assert list_photos(catalogue.media)["path"].to_list() == ["few.gif", "still.gif"]


def test_a_clip_that_the_stage_has_not_read_is_one_error(raw, tmp_path, catalogue_of):
    frames_of(raw, tmp_path / "frames", names=["a.mp4"])
    with pytest.raises(ValueError, match=r"b\.webm: a clip of .* has not read; run `dvc repro frames`"):
        catalogue_of(raw, MEDIA, read_clips(tmp_path / "frames"))
    with pytest.raises(ValueError, match=r"clips\.parquet: no such table; run `dvc repro frames`"):
        read_clips(tmp_path / "none")


def moving(path: Path, backwards: bool, options: dict[str, str]) -> None:
    """A square that moves across a grey scene; to the search for near-duplicates both ways look alike."""
    frames = []
    for number in range(24):
        frame = np.full((96, 128, 3), 120, np.uint8)
        left = 4 + 4 * (23 - number if backwards else number)
        frame[30:66, left : left + 30] = (220, 40, 40)
        frames.append(frame)
    write_clip(path, Kind("", "libx264", size=(128, 96), count=24, options=options), frames)


def test_only_equal_files_are_the_same_clip_and_those_that_look_alike_stay_in_one_fold(tmp_path, catalogue_of):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, backwards, quality in (("a.mp4", False, "18"), ("again.mp4", False, "30"), ("back.mp4", True, "18")):
        moving(raw / name, backwards, {"crf": quality})
    shutil.copy(raw / "a.mp4", raw / "copy.mp4")
    names = ["a.mp4", "again.mp4", "back.mp4", "copy.mp4"]
    frames_of(raw, tmp_path / "frames", names=names, count=12)
    catalogue = catalogue_of(raw, {name: [name] for name in names}, read_clips(tmp_path / "frames"))
    groups = dict(catalogue.products.select("product_id", "group_id").iter_rows())
    assert groups == {"a.mp4": "a.mp4", "again.mp4": "again.mp4", "back.mp4": "back.mp4", "copy.mp4": "a.mp4"}
    folds = dict(catalogue.products.select("product_id", "fold_group_id").iter_rows())
    assert set(folds.values()) == {"a.mp4"}


def test_frames_get_their_shape_and_size_in_one_step():
    pixels = np.full((50, 100, 3), 77, np.uint8)
    for shown, size, expected in (((200, 50), 32, (128, 32)), ((100, 50), 64, (100, 50)), ((100, 80), 90, (100, 80))):
        stored = store_pixels(pixels, shown, size, 90)
        assert (stored.width, stored.height) == expected == Image.open(io.BytesIO(stored.data)).size


def test_a_contact_sheet_holds_every_frame_in_its_order():
    frames = [Image.new("RGB", (128, 128), (20 * number, 0, 0)) for number in range(12)]
    sheet = np.asarray(contact_sheet(frames))
    tile = sheet.shape[0] // 3
    middles = [sheet[tile // 2 + row * tile, tile // 2 + column * tile, 0] for row in range(3) for column in range(4)]
    assert middles == [20 * number for number in range(12)]

import errno
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pipeline_lib.shards.tars import ShardPhoto, ShardTask, ShardWriter, tar_length


def jpeg(path: Path, side: int = 20) -> None:
    Image.new("RGB", (side, side), (side, 50, 80)).save(path)


def writer(root: Path) -> ShardWriter:
    return ShardWriter(root, 32, 90, os.getpid())


def test_members_are_plain_ustar_with_fixed_headers(tmp_path: Path) -> None:
    jpeg(tmp_path / "a.jpg")
    tar = tmp_path / "shard-00000.tar"
    rows = writer(tmp_path)(ShardTask(tar, 12, [ShardPhoto("红-1", 0, "a.jpg"), ShardPhoto("b", 0, None)]))
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
        about = [json.load(archive.extractfile(member)) for member in members[::2]]
        images = [archive.extractfile(member).read() for member in members[1::2]]
    assert [m.name for m in members] == ["000000012.json", "000000012.jpg", "000000013.json", "000000013.jpg"]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname) for m in members} == {(0, 0, 0, 0o644, "", "")}
    assert about == [
        {"product_id": "红-1", "photo": 0, "path": "a.jpg"},
        {"product_id": "b", "photo": 0, "path": None},
    ]
    assert images[0] == (tmp_path / "a.jpg").read_bytes()
    assert rows.offset == [members[1].offset_data, members[3].offset_data]
    assert rows.size == [len(image) for image in images]
    assert (rows.width, rows.height) == ([20, 32], [20, 32])
    assert (rows.num_passed, rows.num_black) == (1, 1)
    assert tar.stat().st_size == tar_length(rows.offset[-1], rows.size[-1])


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"<html>", "not an image"), (b"\xff\xd8\xff\xe0", "unreadable image")],
)
def test_a_missing_or_changed_photo_is_one_error_line(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    task = ShardTask(tmp_path / "x.tar", 0, [ShardPhoto("mug", 2, "a.jpg")])
    with pytest.raises(
        ValueError, match=rf"a\.jpg: photo 2 of product 'mug' changed .*{why}.*run `dvc repro`"
    ) as caught:
        writer(tmp_path)(task)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_error_line(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.tar").symlink_to("/dev/full")
    task = ShardTask(tmp_path / "shard-00000.tar", 0, [ShardPhoto("mug", 0, None)])
    with pytest.raises(OSError, match=r"No space left on device; make room .*shard-00000\.tar") as caught:
        writer(tmp_path)(task)
    assert caught.value.errno == errno.ENOSPC
    assert "\n" not in str(caught.value)


def test_a_worker_stops_when_its_stage_has_ended(tmp_path: Path) -> None:
    orphan = ShardWriter(tmp_path, 32, 90, stage_pid=2**22 + 1)
    with pytest.raises(ValueError, match="the stage of this worker has ended"):
        orphan(ShardTask(tmp_path / "x.tar", 0, [ShardPhoto("mug", 0, None)]))


def test_a_photo_of_the_catalogue_is_not_refused_for_its_size(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    jpeg(tmp_path / "a.jpg", 90)
    rows = writer(tmp_path)(ShardTask(tmp_path / "x.tar", 0, [ShardPhoto("mug", 0, "a.jpg")]))
    assert rows.width == [32]
    assert Image.MAX_IMAGE_PIXELS == 50


def test_the_length_of_a_tar_equals_pythons() -> None:
    for size in (1, 511, 512, 513, 5000):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            info = tarfile.TarInfo("a.jpg")
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
            end = archive.offset
        assert tar_length(512, size) == end + 1024

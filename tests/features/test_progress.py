"""Marks of an extraction: set where a shard ends and never before its photos are on the disk; half files are kept."""

import json

import numpy as np
import pytest

from pipeline_lib.features.progress import Progress
from pipeline_lib.stores.store import MATRIX, MatrixWriter, holds_matrix, open_store

SHARDS = np.repeat([0, 1, 2], [5, 5, 3])  # photos 0-4, 5-9, 10-12


def marked(path):
    return json.loads(path.read_text())["photos"] if path.exists() else None


def test_a_mark_is_set_when_a_shard_has_ended_and_after_the_flush(tmp_path):
    path, seen = tmp_path / "mark.json", []
    progress = Progress(path, SHARDS, "me")
    for photos in (2, 4, 6, 8, 10, 12, 13):
        progress.mark(photos, lambda photos=photos: seen.append((photos, marked(path))))
        seen.append(marked(path))
    # A shard's end is found at the end of a block: 5 at 6, 10 at 10, 13 at 13; a flush sees the mark before its own.
    assert seen == [None, None, (6, None), 6, 6, (10, 6), 10, 10, (13, 10), 13]


def test_it_goes_on_where_it_was_and_counts_shards_from_there(tmp_path):
    path = tmp_path / "mark.json"
    Progress(path, SHARDS, "me").mark(6)
    progress, flushed = Progress(path, SHARDS, "me"), []
    assert progress.resume(lambda: True) == 6
    progress.mark(8, lambda: flushed.append(8))
    progress.mark(11, lambda: flushed.append(11))
    assert flushed == [11] and marked(path) == 11
    assert Progress(path, SHARDS, "me").resume(lambda: True) == 11


@pytest.mark.parametrize(("maker", "holds"), [("other", True), ("me", False)])
def test_what_cannot_be_gone_on_from_is_forgotten(tmp_path, maker, holds):
    path = tmp_path / "mark.json"
    Progress(path, SHARDS, "me").mark(6)
    assert Progress(path, SHARDS, maker).resume(lambda: holds) == 0
    assert not path.exists()  # a kill before the next mark must not bring it back


def test_without_a_place_nothing_is_kept():
    progress = Progress(None, SHARDS, "me")
    progress.mark(13, lambda: pytest.fail("no flush is needed"))
    assert progress.resume(lambda: True) == 0


def test_a_half_matrix_is_written_on(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    half = MatrixWriter(tmp_path, 4, 3, "float16")
    half.write(0, values[:2])
    half.flush()
    del half
    assert holds_matrix(tmp_path, 4, 3, "float16")
    writer = MatrixWriter(tmp_path, 4, 3, "float16", keep=True)
    writer.write(2, values[2:])
    writer.close(list("abcd"), "enc", "pre")
    assert np.array_equal(open_store(tmp_path).rows(list("abcd")), values)


@pytest.mark.parametrize("other", [(4, 4, "float16"), (5, 3, "float16"), (4, 3, "bfloat16"), (4, 3, "float32")])
def test_a_matrix_of_another_size_or_type_is_not_taken_for_this_one(tmp_path, other):
    MatrixWriter(tmp_path, 4, 3, "float16")
    assert not holds_matrix(tmp_path, *other)
    data = (tmp_path / MATRIX).read_bytes()
    (tmp_path / MATRIX).write_bytes(data[:-1])  # killed while room was taken
    assert not holds_matrix(tmp_path, 4, 3, "float16")
    assert not holds_matrix(tmp_path / "none", 4, 3, "float16")

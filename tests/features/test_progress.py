"""Progress of an extraction: saved after each shard, only after its photos are flushed; partial files are resumed."""

import json

import numpy as np
import pytest

from pipeline_lib.features.progress import Progress
from pipeline_lib.stores.store import MATRIX, MatrixWriter, holds_matrix, open_store

SHARDS = np.repeat([0, 1, 2], [5, 5, 3])  # photos 0-4, 5-9, 10-12


def saved_photos(path):
    return json.loads(path.read_text())["photos"] if path.exists() else None


def test_progress_is_saved_after_a_shard_is_complete_and_flushed(tmp_path):
    path, events = tmp_path / "progress.json", []
    progress = Progress(path, SHARDS, "me")
    for photos in (2, 4, 6, 8, 10, 12, 13):
        progress.save(photos, lambda photos=photos: events.append((photos, saved_photos(path))))
        events.append(saved_photos(path))
    # Shards end at 5, 10 and 13 photos, and blocks that complete them at 6, 10 and 13. Each flush runs before its save.
    assert events == [None, None, (6, None), 6, 6, (10, 6), 10, 10, (13, 10), 13]


def test_it_resumes_and_counts_shards_from_there(tmp_path):
    path = tmp_path / "progress.json"
    Progress(path, SHARDS, "me").save(6)
    progress, flushed = Progress(path, SHARDS, "me"), []
    assert progress.resume(lambda: True) == 6
    progress.save(8, lambda: flushed.append(8))
    progress.save(11, lambda: flushed.append(11))
    assert flushed == [11] and saved_photos(path) == 11
    assert Progress(path, SHARDS, "me").resume(lambda: True) == 11


@pytest.mark.parametrize(("origin", "exist"), [("other", True), ("me", False)])
def test_progress_of_another_origin_or_without_files_is_deleted(tmp_path, origin, exist):
    path = tmp_path / "progress.json"
    Progress(path, SHARDS, "me").save(6)
    assert Progress(path, SHARDS, origin).resume(lambda: exist) == 0
    assert not path.exists()  # otherwise a run that is killed before its first save would leave it


def test_without_a_path_nothing_is_saved():
    progress = Progress(None, SHARDS, "me")
    progress.save(13, lambda: pytest.fail("no flush is needed"))
    assert progress.resume(lambda: True) == 0


def test_a_partial_matrix_is_resumed(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    partial = MatrixWriter(tmp_path, 4, 3, "float16")
    partial.write(0, values[:2])
    partial.flush()
    del partial
    assert holds_matrix(tmp_path, 4, 3, "float16")
    writer = MatrixWriter(tmp_path, 4, 3, "float16", keep=True)
    writer.write(2, values[2:])
    writer.close(list("abcd"), "enc", "pre")
    assert np.array_equal(open_store(tmp_path).rows(list("abcd")), values)


@pytest.mark.parametrize("other", [(4, 4, "float16"), (5, 3, "float16"), (4, 3, "bfloat16"), (4, 3, "float32")])
def test_a_matrix_of_another_size_or_type_is_not_resumed(tmp_path, other):
    MatrixWriter(tmp_path, 4, 3, "float16")
    assert not holds_matrix(tmp_path, *other)
    data = (tmp_path / MATRIX).read_bytes()
    (tmp_path / MATRIX).write_bytes(data[:-1])  # killed while disk space was allocated
    assert not holds_matrix(tmp_path, 4, 3, "float16")
    assert not holds_matrix(tmp_path / "none", 4, 3, "float16")

"""A store at a URL is copied once and memory-mapped; its origin is checked, and it must match the local folder."""

import numpy as np
import pytest

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.remote import verified_location
from pipeline_lib.stores.store import HEADER, IDS, open_store, write_store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "image", [f"p{n}#0" for n in range(9)], np.arange(36).reshape(9, 4) / 8, ("enc", "pre"))
    return tmp_path / "image"


def test_rows_equal_a_loop_over_the_local_store(folder, s3):
    local, remote = open_store(folder), open_store(s3(folder), "enc", "pre")
    assert isinstance(remote.matrix, np.memmap) and remote.header == local.header and remote.ids == local.ids
    assert remote.folder.parent == paths.COPIES
    ids = [local.ids[n] for n in (8, 0, 3, 3)]
    slow = np.stack([np.array(local.matrix[local.ids.index(key)], np.float32) for key in ids])
    assert np.array_equal(remote.rows(ids), slow)


def test_another_encoder_another_catalogue_and_a_missing_store_are_refused(folder, s3, tmp_path):
    url = s3(folder)
    with pytest.raises(ValueError, match=f"{url}: made by encoder enc, but other is expected"):
        open_store(url, "other")
    write_store(tmp_path / "mine", [f"q{n}#0" for n in range(9)], np.zeros((9, 4)), ("enc", "pre"))
    with pytest.raises(ValueError, match=rf"{url}/header\.json: differs from .*mine/header\.json"):
        verified_location(tmp_path / "mine", url, [HEADER, IDS])
    with pytest.raises(ValueError, match=f"{url}/none: nothing there"):
        open_store(f"{url}/none")

"""On a full disk every writer of large files raises one OSError that names the file and what to do.

A limit of 4 kB per file simulates the full disk: both cause a short write.
"""

import contextlib
import resource

import numpy as np
import pytest
import torch

from pipeline_lib.artifacts.io import writing
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.models import saved
from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import INDEX, Fingerprints, build_index
from pipeline_lib.stores.store import MATRIX, MatrixWriter

ROWS = np.ones((500, 64), dtype=np.float32)
PARAMS = IndexParams(photo_weight=0.5, lists=4, probes=2, pq_bytes=8, links=8, build_beam=16, search_beam=16)


@contextlib.contextmanager
def full_disk():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_checkpoint_is_named_and_the_previous_one_remains(tmp_path, monkeypatch):
    monkeypatch.setenv("VITRINE_CHECKPOINTS", str(tmp_path))
    with CheckpointFolder("run") as folder:
        folder.save_last({"epoch": 1})
        with (
            full_disk(),
            pytest.raises(OSError, match=r"last\.pt\.part: cannot be written: .*; free some space and run"),
        ):
            folder.save_last({"epoch": 2, "weights": torch.ones(100_000)})
        assert folder.load_last() == {"epoch": 1}


def test_a_failed_model_is_named(tmp_path):
    layer = torch.nn.Linear(300, 300)
    layer.description = {"kind": "one layer"}
    with (
        full_disk(),
        pytest.raises(OSError, match=r"model\.safetensors: cannot be written: .*; free some space and run"),
    ):
        saved.save_model(tmp_path, layer, {})


def test_a_failed_index_is_named_and_has_no_manifest(tmp_path):
    products = ROWS / 8
    with full_disk(), pytest.raises(OSError, match=rf"{INDEX}: cannot be written: .*; free some space and run"):
        build_index(tmp_path, "flat", [str(row) for row in range(500)], products, Fingerprints("m", "p"), PARAMS)
    assert not (tmp_path / "manifest.json").exists()


def test_a_failed_feature_store_is_named_before_the_encoder_runs(tmp_path):
    with full_disk(), pytest.raises(OSError, match=rf"{MATRIX}: cannot be written: .*; free some space and run"):
        MatrixWriter(tmp_path / "store", 500, 64, "float16")
    assert not (tmp_path / "store/header.json").exists()


def test_the_message_is_one_short_line(tmp_path):
    with pytest.raises(OSError) as caught, writing(tmp_path / "x"):
        raise RuntimeError("first\nsecond\n" + "long " * 200)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500

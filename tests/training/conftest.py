"""An empty folder and a single thread for a run: results are bit-equal with one thread only."""

import pytest
import torch


@pytest.fixture
def isolated(tmp_path, monkeypatch):
    """Work in an empty folder, so that checkpoints and logs stay inside the test; return it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


@pytest.fixture
def towers(tiny_image_folder, tiny_text_folder):
    return tiny_image_folder, tiny_text_folder

"""Whether a stage fits into memory: a table by hand, and peaks that outlive a run."""

import psutil
import pytest

from pipeline_lib.experiments.repro.memory import StageMemory

GB = 10**9


@pytest.fixture
def memory(tmp_path, monkeypatch) -> StageMemory:
    monkeypatch.setattr(psutil, "virtual_memory", _Machine)
    found = StageMemory(2, tmp_path / "memory.json")
    for stage, used in (("train@0", 1 * GB), ("train@0", 3 * GB), ("train@0", 2 * GB), ("embed@0-64", 1 * GB)):
        found.observe(stage, used)
    found.end("train@0")
    found.end("embed@0-64")
    return found


class _Machine:
    available = 5 * GB


@pytest.mark.parametrize(
    ("stage", "running", "available", "fits"),
    [
        # 3 GB for the stage and 2 GB that the running one will still take.
        ("train@1", {"train@0": 1 * GB}, 5 * GB, True),
        ("train@1", {"train@0": 1 * GB}, 5 * GB - 1, False),
        # A stage above its known peak takes no more.
        ("embed@1-64", {"train@0": 4 * GB}, 1 * GB, True),
        # An unseen kind counts as half of 80 % of 5 GB for two jobs, and so do two of them at the start.
        ("index@flat-0", {"embed@1-64": 1 * GB}, 2 * GB, True),
        ("index@flat-0", {"embed@1-64": 1 * GB}, 2 * GB - 1, False),
        ("index@flat-0", {"report": 0}, None, True),
    ],
)  # fmt: skip
def test_what_fits(memory, stage, running, available, fits):
    assert memory.fits(stage, running, available) == fits


def test_the_last_run_of_a_kind_counts(memory, tmp_path):
    memory.save()
    later = StageMemory(2, tmp_path / "memory.json")
    assert later.expected("train@5") == 3 * GB
    later.observe("train@5", 1 * GB)
    assert later.expected("train@5") == 3 * GB
    later.end("train@5")
    assert later.expected("train@5") == 1 * GB

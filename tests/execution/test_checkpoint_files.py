"""A damaged checkpoint is found, set aside with a line, and costs epochs but changes no result."""

import os
import re
from pathlib import Path

import pytest
import torch
from damages import BYTES, GROSS, flipped
from tiny_project import make_settings, write_project

from pipeline_lib.execution import checkpoint_files
from pipeline_lib.execution.checkpoint import BEST, LAST, CheckpointFolder
from pipeline_lib.execution.checkpoint_files import previous_of
from pipeline_lib.models.saved import read_state
from pipeline_lib.training.fold import train_fold

DAMAGES = GROSS | {
    "one byte short": BYTES["without its last byte"],
    "flipped in the header": lambda data: data[:3] + b"x" + data[4:],
    "flipped in a tensor": flipped(0.5),  # the middle of a file of one large tensor
    "no checkpoint": lambda data: b"PK\x05\x06" + bytes(18),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VITRINE_CHECKPOINTS", str(tmp_path))
    with CheckpointFolder("run") as folder:
        for epoch in (1, 2, 3):
            folder.save_last({"epoch": epoch, "weights": torch.full((5000,), float(epoch))})
        folder.save_best({"model": torch.ones(5000)})
        yield folder


def damage(path, kind):
    path.write_bytes(DAMAGES[kind](path.read_bytes()))


def test_a_sound_checkpoint_is_the_last(folder, capsys):
    assert folder.load_last()["epoch"] == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before(folder, capsys, kind):
    path = folder.folder / LAST
    damage(path, kind)
    assert folder.load_last()["epoch"] == 2
    line = capsys.readouterr().err
    assert re.fullmatch(rf"{path}: damaged \(.+\), set aside as last\.pt\.damaged; the run resumes .* before\n", line)
    assert not path.exists() and (folder.folder / "last.pt.damaged").exists()
    assert folder.load_last()["epoch"] == 2
    assert capsys.readouterr().err == "", "the line is printed once"


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(13, "Permission denied")])
def test_a_checkpoint_that_cannot_be_read_now_stays(folder, monkeypatch, error):
    """It may be sound: the next run, with more memory, resumes from it."""

    def failing(*_, **__):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(torch, "load", failing)
        folder.load_last()
    assert folder.load_last()["epoch"] == 3


def test_without_a_sound_checkpoint_the_run_starts_again(folder, capsys):
    damage(folder.folder / LAST, "cut to half")
    damage(previous_of(folder.folder / LAST), "empty")
    assert folder.load_last() is None
    line = capsys.readouterr().err
    assert line.count("damaged (") == 2 and line.endswith("; the run starts again\n")


def test_a_kill_between_the_two_renames_costs_one_epoch(folder, capsys):
    (folder.folder / LAST).replace(previous_of(folder.folder / LAST))
    assert folder.load_last()["epoch"] == 3
    assert capsys.readouterr().err == ""


def test_a_damaged_best_checkpoint_ends_the_run_and_the_next_one_starts_again(folder):
    damage(folder.folder / BEST, "flipped in a tensor")
    with pytest.raises(
        ValueError, match=r"best\.pt: .* damaged; run `dvc repro` again, it trains from the first epoch"
    ):
        folder.load_best()
    assert folder.load_last() is None


def test_another_process_renames_nothing(folder, capsys):
    damage(folder.folder / LAST, "cut to half")
    other = CheckpointFolder("run", writes=False)
    assert other.load_last()["epoch"] == 2
    assert capsys.readouterr().err == "" and (folder.folder / LAST).exists()


def test_the_bytes_are_on_disk_before_the_name(folder, monkeypatch):
    """The file is flushed before its rename, and the folder after it."""
    order, flush, path = [], os.fsync, folder.folder / LAST

    def flushed(descriptor):
        order.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), path.exists() and path.stat().st_mtime_ns))
        flush(descriptor)

    before = path.stat().st_mtime_ns
    monkeypatch.setattr(checkpoint_files.os, "fsync", flushed)
    folder.save_last({"epoch": 4})
    after = path.stat().st_mtime_ns
    assert order == [(f"{path}.part", before), (str(path.parent), after)]


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
def test_a_run_with_a_damaged_checkpoint_ends_with_the_same_weights(
    tmp_path, monkeypatch, capfd, tiny_image_folder, tiny_text_folder
):
    monkeypatch.chdir(tmp_path)
    inputs, settings = write_project(tmp_path), make_settings(tiny_image_folder, tiny_text_folder, epochs=3)
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    train_fold(settings, inputs, 1, "run", tmp_path / "whole")
    expected = read_state(tmp_path / "whole")
    damage(tmp_path / ".ckpt/run" / LAST, "cut to half")
    capfd.readouterr()
    train_fold(settings, inputs, 1, "run", tmp_path / "resumed")
    assert "the run resumes from the epoch before" in capfd.readouterr().err
    found = read_state(tmp_path / "resumed")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())

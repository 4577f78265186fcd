"""Which folders of checkpoints stay: what a killed run needs does, what DVC has recorded does not."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from pipeline_lib.execution import locks
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.checkpoint_runs import (
    RETENTION_DAYS,
    SECONDS_A_DAY,
    checkpoint_runs,
    lock_entry,
    lock_folder,
    remove_recorded,
    remove_runs,
)

OUT = Path("data/work/train/0")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("VITRINE_CHECKPOINTS", raising=False)
    record(lr=1, md5="aaa.dir", also="x")
    return tmp_path


def record(lr, md5, also):
    """Write dvc.lock as DVC does, with the stages train@0 and train@1."""

    def entry(fold, lr, md5):
        cmd = f"python -m stages.train --fold {fold}"
        outs = [{"path": f"data/work/train/{fold}", "hash": "md5", "md5": md5, "size": 9, "nfiles": 2}]
        return {"cmd": cmd, "params": {"params.yaml": {"train": {"lr": lr}}}, "outs": outs}

    stages = {"train@1": entry(1, 1, also), "train@0": entry(0, lr, md5)}
    with (Path(os.environ["DVC_ROOT"]) / "dvc.lock").open("w") as stream:
        yaml = YAML()
        yaml.indent(mapping=2, sequence=2)
        yaml.dump({"schema": "2.0", "stages": stages}, stream)


def finish(name, out=OUT):
    with CheckpointFolder(name, out=out) as folder:
        folder.save_last({"weights": torch.zeros(100)})
        folder.finish()


def names():
    return sorted(run.folder.name for run in checkpoint_runs())


def age(project, name, days):
    for path in (project / ".ckpt" / name).iterdir():
        os.utime(path, times=(time.time() - days * SECONDS_A_DAY,) * 2)


def test_a_finished_run_stays_until_dvc_has_recorded_its_outs():
    """A kill between the end of the command and the record repeats the stage, which must not train again."""
    finish("run")
    remove_recorded()
    assert [(run.folder.name, run.state) for run in checkpoint_runs()] == [("run", "finished")]
    record(lr=1, md5="aaa.dir", also="of another stage")
    remove_recorded()
    assert names() == ["run"]
    record(lr=2, md5="bbb.dir", also="x")
    assert checkpoint_runs()[0].state == "recorded"
    remove_recorded()
    assert names() == []


def test_the_first_record_of_an_out_counts(project):
    (project / "dvc.lock").unlink()
    finish("run")
    remove_recorded()
    assert names() == ["run"]
    record(lr=1, md5="aaa.dir", also="x")
    remove_recorded()
    assert names() == []


def test_a_lock_file_that_is_being_written_records_nothing(project):
    """DVC writes it in place. Whatever its length, only a complete new entry is another one."""
    finish("run")
    old = (project / "dvc.lock").read_text()
    for length in range(len(old)):
        (project / "dvc.lock").write_text(old[:length])
        assert checkpoint_runs()[0].state == "finished", old[:length]
    record(lr=2, md5="bbb.dir", also="x")
    new = (project / "dvc.lock").read_text()
    states = []
    for length in range(len(new)):
        (project / "dvc.lock").write_text(new[:length])
        states.append(checkpoint_runs()[0].state)
    assert states == sorted(states) and "recorded" in states
    assert states.count("recorded") <= len("      size: 9\n      nfiles: 2\n")


def test_an_entry_is_that_of_the_path_and_nothing_else():
    first, second = lock_entry("data/work/train/0"), lock_entry("data/work/train/1")
    assert first and second and first != second
    assert lock_entry("data/work/train") is lock_entry("work/train/0") is lock_entry("data/work/train/00") is None


def test_an_unfinished_run_stays_and_its_age_bounds_it(project):
    with CheckpointFolder("killed", out=OUT) as folder:
        folder.save_last({})
    record(lr=2, md5="bbb.dir", also="x")
    age(project, "killed", RETENTION_DAYS - 0.1)
    remove_recorded()
    assert [run.state for run in checkpoint_runs()] == ["unfinished"]
    age(project, "killed", RETENTION_DAYS + 0.1)
    remove_recorded()
    assert names() == []


def test_of_unrecorded_runs_the_last_one_of_each_out_stays():
    """Stages that run without DVC are never recorded."""
    finish("first")
    finish("other", Path("data/work/train/1"))
    with CheckpointFolder("killed", out=OUT) as folder:
        folder.save_last({})
    finish("second")
    assert names() == ["killed", "other", "second"]


def test_runs_of_another_project_are_bounded_by_their_age_alone(project, monkeypatch):
    """Two projects may share VITRINE_CHECKPOINTS, and both have data/work/train/0."""
    monkeypatch.setenv("VITRINE_CHECKPOINTS", str(project / ".ckpt"))
    finish("run")
    (project / "other").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(project / "other"))
    record(lr=2, md5="bbb.dir", also="x")
    finish("of the other")
    remove_recorded()
    assert names() == ["of the other", "run"]
    age(project, "run", RETENTION_DAYS + 0.1)
    remove_recorded()
    assert names() == ["of the other"]


def test_a_resumed_run_finds_its_checkpoint_and_its_entry():
    """A change of dvc.lock between the start and the end of a run is not this run's record."""
    with CheckpointFolder("run", out=OUT) as folder:
        folder.save_last({"step": torch.tensor(3)})
    with CheckpointFolder("run", out=OUT) as folder:
        assert folder.load_last()["step"] == 3
        folder.finish()
    assert checkpoint_runs()[0].state == "finished"


def test_a_locked_folder_is_never_removed(monkeypatch):
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.0)
    finish("run")
    record(lr=2, md5="bbb.dir", also="x")
    with CheckpointFolder("run", out=OUT) as folder:
        remove_recorded()
        assert remove_runs(checkpoint_runs()) == []
        assert folder.load_last() is not None
        with pytest.raises(ValueError, match=rf"process {os.getpid()} does the same run"):
            CheckpointFolder("run", out=OUT)
    assert len(remove_runs(checkpoint_runs())) == 1 and names() == []


def _lock_and_remove(folder, rounds):
    for _ in range(rounds):
        if (lock := lock_folder(folder)) is not None:
            assert os.path.samestat(os.fstat(lock.fileno()), (folder / "LOCK").stat())
            locks.release(lock)
        remove_runs(checkpoint_runs())


def test_a_lock_is_that_of_the_folder_which_exists(project):
    """Two processes that remove and create one folder never hold a lock on a removed file."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_lock_and_remove, args=(project / ".ckpt/run", 300)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


def test_the_size_is_what_removing_frees(project):
    finish("run")
    store = project / ".ckpt/run/matrix.npy"
    store.write_bytes(bytes(5000))
    before = checkpoint_runs()[0].size
    os.link(store, project / "out.npy")
    assert before - checkpoint_runs()[0].size == 5000


def test_a_run_says_what_others_hold(capsys):
    finish("first")
    assert capsys.readouterr().err == ""
    finish("second", Path("data/work/train/1"))
    assert capsys.readouterr().err == "checkpoints of other runs: 1, 0.0 MB, see `vitrine clean`\n"

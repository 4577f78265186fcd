"""Killed stages and a full disk: the next run gives the same outs as an uninterrupted one."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_shop import Project

# The end of the message of a stage that could not write a file.
RESUME = "it resumes after the last finished stage or epoch"


@pytest.fixture(scope="module")
def project(built_project, fork_server, tmp_path_factory):
    project = built_project.copy(tmp_path_factory.mktemp("interrupted") / "project", fork_server)
    project.expected = (project.folder / "dvc.lock").read_text()
    return project


def start(project, stage):
    """Start `dvc repro` of one stage in its own process group; a fork of the shared server ends with its client."""
    command = ["dvc", "repro", "--single-item", "--force", stage]
    null, environment = subprocess.DEVNULL, project.environment
    return subprocess.Popen(
        command, cwd=project.folder, env=environment, stdout=null, stderr=null, start_new_session=True
    )


def wait_for(condition, process, seconds=60.0):
    """Wait until the condition holds; return False if the process has ended."""
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    return process.poll() is None


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def members(process):
    """Return the ids of the running processes of a process group; one that nobody has reaped has ended."""
    listed = ["pgrep", "--runstates", "RSDIt", "-g", str(process.pid)]
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()


def runs(pid, module):
    """Return whether a process runs `python -m module`; meanwhile DVC waits and writes nothing."""
    try:
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


# Stage -> pattern of the files that exist while it runs.
PARTIAL = {
    "shards": "data/work/.shards.*.part/shard-00000.tar",
    "features@trunk": ".ckpt/*/partial/image/matrix.npy",
    "train@0": "data/work/train/.0.*.part",
}


def has_started(project, stage):
    return any(project.folder.glob(PARTIAL[stage]))


@pytest.mark.parametrize("stage", PARTIAL)
def test_a_killed_stage_runs_again_with_the_same_outs(project, stage):
    shutil.rmtree(project.folder / ".ckpt", ignore_errors=True)  # otherwise the stage would resume a finished run
    process = start(project, stage)
    alive = wait_for(lambda: has_started(project, stage), process)
    kill(process)
    assert alive, "the stage ended before it could be killed"
    project.run("dvc", "repro", "--single-item", "--force", stage)
    assert (project.folder / "dvc.lock").read_text() == project.expected
    assert not list(project.folder.glob("data/work/**/.*.part"))


def test_a_killed_index_runs_again_with_the_same_outs(project):
    """An index is written in milliseconds: the stage is killed when it starts, and the test writes the partial file."""
    process = start(project, "index@flat-0")
    alive = wait_for(lambda: any(runs(pid, "stages.index") for pid in members(process)), process)
    kill(process)
    assert alive, "the stage ended before it could be killed"
    assert not (project.folder / "data/work/index/flat-0").exists()
    # No process has a number above the largest, 2^22.
    part = project.folder / "data/work/index/.flat-0.99999999.part"
    part.mkdir()
    (part / "index.faiss").write_bytes(b"partial")
    project.run("dvc", "repro", "--single-item", "--force", "index@flat-0")
    assert (project.folder / "dvc.lock").read_text() == project.expected
    assert not part.exists()


def test_a_stage_dies_with_dvc(project):
    """Only the process of `dvc` is killed; its child must not continue and write into the outs of the next run."""
    process = start(Project(project.folder), "train@0")  # the server belongs to dvc, as a user's does
    assert wait_for(lambda: has_started(project, "train@0"), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    end = time.monotonic() + 10
    while members(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert not members(process)
    project.run("dvc", "repro", "--single-item", "--force", "train@0")
    assert (project.folder / "dvc.lock").read_text() == project.expected


def test_checkpoints_stay_until_dvc_has_recorded_the_outs(project, built_project):
    """As if DVC was killed between the end of the command and its record: the run is taken up, not trained again."""
    assert not list((built_project.folder / ".ckpt").glob("*/"))
    shutil.rmtree(project.folder / ".ckpt", ignore_errors=True)
    project.set_params("train.epochs=2")
    assert "epoch 1 " in _printed(project.run_forked("stages.train", "--fold", "0"))
    (folder,) = (project.folder / ".ckpt").glob("*/DONE")
    project.run_forked("stages.index", "--kind", "flat", "--fold", "0")
    assert folder.exists()
    done = project.run("dvc", "repro", "--single-item", "train@0")
    assert project.run_stages(done.stdout) == ["train@0"] and "epoch 1 " not in _printed(done) and folder.exists()
    project.run_forked("stages.index", "--kind", "flat", "--fold", "0")
    assert not list((project.folder / ".ckpt").glob("*/DONE"))
    project.restore()


def _printed(done):
    return done.stdout + done.stderr


def test_a_full_disk_is_one_line_and_does_not_change_the_previous_outs(project):
    """A limit of 4 kB per file has the same effect on a write as a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        ["python", "-m", "stages.shards"],
        cwd=project.folder,
        # Python 3.11 leaves a byte-compiled file behind that such a limit cut, and later imports fail on it.
        env=project.environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert (last.startswith("stages.shards: error: ") and RESUME in last) or "File too large" in last
    assert project.run_stages(project.run("dvc", "repro", "index").stdout) == []


# Stage -> the folder of its outs, which is mounted on a small disk, and the size of the disk in kB, less than the outs.
DISKS = {
    "stages.features": ("data/work/features", 4),
    "stages.train --fold 0": ("data/work/train", 16),
    "stages.embed --fold 0 --scale 32": ("data/work/embed/0", 4),
    "stages.gallery --fold 0": ("data/work/gallery", 4),
    "stages.index --kind flat --fold 0": ("data/work/index", 4),
}


def test_a_stage_on_a_full_disk_is_one_line(project):
    """The disks are mounted in a namespace that no other process sees."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    namespace = ["unshare", "--mount", *user]
    mount = [*namespace, "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "data/work/index"]
    if subprocess.run(mount, cwd=project.folder, capture_output=True, check=False).returncode:
        pytest.skip("no mounts are allowed here")
    done = project.run_forked("small_disks", json.dumps(DISKS), check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    for stage in DISKS:
        last = lines[lines.index(f"ended {stage} with 1") - 1]
        # FAISS writes a line of its own, without an end, before ours.
        assert stage.split()[0] + ": error: " in last and RESUME in last
    assert project.run_stages(project.run("dvc", "repro", "index").stdout) == []

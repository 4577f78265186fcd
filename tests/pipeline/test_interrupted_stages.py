"""Kills and a full disk, stage by stage: the next run is right and equals an unbroken one."""

import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_shop import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    made = Project(tmp_path_factory.mktemp("project"), tiny_image_folder, tiny_text_folder)
    made.set_params("plan.folds=[0]", "train.epochs=2")
    made.run("dvc", "repro", "index")
    made.right = (made.folder / "dvc.lock").read_text()
    return made


def start(project, stage):
    """Begin one stage by force, as DVC does it, in a process group of its own."""
    command = ["dvc", "repro", "--single-item", "--force", stage]
    pipe = subprocess.DEVNULL
    return subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=pipe, stderr=pipe, start_new_session=True
    )


def wait_for(found, process, seconds=60.0):
    end = time.monotonic() + seconds
    while not found() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    return process.poll() is None


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def members(process):
    """Return the ids of the processes of a group that are alive."""
    listed = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()


def runs(pid, module):
    """Tell whether a process runs `python -m module`: while it does, DVC waits and writes nothing of its own."""
    try:
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


# What a stage has made in the middle of its work, as a pattern.
HALF = {
    "shards": "data/work/.shards.part/shard-00000.tar",
    "features@trunk": ".ckpt/*/half/image/matrix.npy",
    "train@0": "data/work/train/.0.part",
}


def half_made(project, stage):
    return any(project.folder.glob(HALF[stage]))


@pytest.mark.parametrize("stage", HALF)
def test_a_killed_stage_is_made_again_and_right(project, stage):
    shutil.rmtree(project.folder / ".ckpt", ignore_errors=True)  # else what an earlier run finished is taken from there
    process = start(project, stage)
    alive = wait_for(lambda: half_made(project, stage), process)
    kill(process)
    assert alive, "the stage ended before it could be killed"
    project.run("dvc", "repro", "--single-item", "--force", stage)
    assert (project.folder / "dvc.lock").read_text() == project.right
    assert not list(project.folder.glob("data/work/**/.*.part"))


def test_a_killed_index_is_made_again_and_right(project):
    """An index is written in milliseconds: its stage is killed when DVC has begun it, and half a file put there."""
    process = start(project, "index@flat-0")
    alive = wait_for(lambda: any(runs(pid, "stages.index") for pid in members(process)), process)
    kill(process)
    assert alive, "the stage ended before it could be killed"
    assert not (project.folder / "data/work/index/flat-0").exists()
    half = project.folder / "data/work/index/.flat-0.part"
    half.mkdir(exist_ok=True)
    (half / "index.faiss").write_bytes(b"half")
    project.run("dvc", "repro", "--single-item", "--force", "index@flat-0")
    assert (project.folder / "dvc.lock").read_text() == project.right
    assert not half.exists()


def test_a_stage_dies_with_dvc(project):
    """A killed `dvc` alone, not its group: its child must not go on and write into the next run's outs."""
    process = start(project, "train@0")
    assert wait_for(lambda: half_made(project, "train@0"), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    end = time.monotonic() + 10
    while members(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert not members(process)
    project.run("dvc", "repro", "--single-item", "--force", "train@0")
    assert (project.folder / "dvc.lock").read_text() == project.right


@pytest.mark.parametrize("stage", ["stages.shards"])
def test_a_full_disk_is_one_line_and_leaves_the_last_outs(project, stage):
    """No file may grow beyond 4 kB: what a full disk does to a write, without one."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = ["python", "-m", *stage.split()]
    done = subprocess.run(
        command,
        cwd=project.folder,
        env=project.environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert (last.startswith(stage.split()[0] + ": error: ") and "finished stages" in last) or "File too large" in last
    assert project.ran(project.run("dvc", "repro", "index").stdout) == []


# Stage -> the folder it makes its out in, given a disk of its own, and how many kB that has: less than the out needs.
DISKS = {
    "stages.features --name trunk": ("data/work/features", 4),
    "stages.train --fold 0": ("data/work/train", 16),
    "stages.embed --fold 0 --scale 32": ("data/work/embed/0", 4),
    "stages.index --kind flat --fold 0": ("data/work/index", 4),
}


@pytest.mark.parametrize("stage", DISKS)
def test_a_disk_that_is_really_full_is_one_line(project, stage):
    """A disk of a few kB is mounted over the out's folder, in a name space that no other process sees."""
    folder, size = DISKS[stage]
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    mount = f"mount -t tmpfs -o size={size}k tmpfs {folder}"
    if subprocess.run([*alone, mount], cwd=project.folder, capture_output=True, check=False).returncode:
        pytest.skip("no mounts are allowed here")
    done = subprocess.run(
        [*alone, f"{mount} && exec python -m {stage}"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(stage.split()[0] + ": error: ")
    assert "finished stages and epochs are kept" in last
    assert project.ran(project.run("dvc", "repro", "index").stdout) == []

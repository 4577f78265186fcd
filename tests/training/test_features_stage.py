"""The stage `features` as DVC runs it: killed and resumed, run again when complete, and in two processes."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked import LOCK_SECONDS, forks_of, launcher
from ruamel.yaml import YAML
from tiny_project import PARAMS, copy_towers, make_settings, write_project

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.params.section import load_params
from pipeline_lib.stores.activations import open_activations
from pipeline_lib.stores.store import MATRIX, open_store

STORES = {"image", "image-boundary", "text", "text-boundary"}
VIEWS = {"image-views", "image-views-boundary"}


@pytest.fixture
def start(tmp_path, tiny_image_folder, tiny_text_folder, fork_server):
    """A function that starts the stage in a project of `count` products with 16 photos per shard."""

    def start_stage(project, count=36, processes=1, batch_size=5, name="trunk", **trunk):
        root = tmp_path / project
        if not root.exists():
            write_project(root / "data/work", count)
            for folder in ("data/work/features", "data/weights"):
                (root / folder).mkdir(parents=True)
        settings = make_settings(*copy_towers(root, tiny_image_folder, tiny_text_folder))
        runtime = settings.runtime.model_copy(update={"batch_size": batch_size, "workers": 1})
        params = load_params(PARAMS)
        params["model"], params["runtime"] = settings.model.model_dump(), runtime.model_dump()
        params["features"]["trunk"] |= {"layers": 2, **trunk}
        with (root / "params.yaml").open("w", encoding="utf-8") as stream:
            YAML().dump(params, stream)
        removed = ("DVC_ROOT", "VITRINE_LAUNCH", "VITRINE_CHECKPOINTS", "OMP_NUM_THREADS")
        environment = {key: value for key, value in os.environ.items() if key not in removed}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), SWITCH: str(fork_server)}
        environment |= {"VITRINE_LAUNCH": launcher(processes)} if processes > 1 else {}
        command, pipe = [sys.executable, "-m", "stages.features", "--name", name], subprocess.PIPE
        return subprocess.Popen(command, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)

    return start_stage


def output_of(process):
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    return stdout


def progress_files(root):
    return list(root.glob(".ckpt/*/image.json"))


@pytest.fixture
def killed_in_the_middle(fork_server):
    """A function that kills the stage as soon as it has saved its progress; it returns the number of stored photos."""

    def wait_and_kill(process, root):
        end = time.monotonic() + 100
        while not progress_files(root) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        for fork in forks_of(fork_server):
            fork.kill()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == -9, stderr
        return read_object(progress_files(root)[0])["photos"]

    return wait_and_kill


def files(root):
    out = root / "data/work/features/trunk"
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_killed_extraction_resumes_and_ends_with_the_same_bytes(start, killed_in_the_middle, tmp_path):
    """150 products have 175 photos; the batch size is 1."""
    root = tmp_path / "killed"
    stored = killed_in_the_middle(start("killed", 150, batch_size=1), root)
    assert 0 < stored < 175 and stored % 16 == 0 and not (root / "data/work/features/trunk").exists()
    printed = output_of(start("killed", 150, batch_size=1))
    assert f"image: resumes after {stored} of 175 photos" in printed
    shutil.copytree(root, tmp_path / "whole", ignore=shutil.ignore_patterns(".ckpt", "trunk"))
    assert "resumes" not in output_of(start("whole", batch_size=1))
    resumed, uninterrupted = files(root), files(tmp_path / "whole")
    assert {Path(name).parts[0] for name in uninterrupted} == {*STORES, "joint.json"}
    assert resumed.keys() == uninterrupted.keys()
    assert [name for name, data in uninterrupted.items() if resumed[name] != data] == []

    # DVC removes the outs before it runs a stage. They are linked again and nothing is computed.
    checkpoint = progress_files(root)[0].parent
    assert (checkpoint / "DONE").is_file()
    shutil.rmtree(root / "data/work/features/trunk")
    printed = output_of(start("killed", 150, batch_size=1))
    assert "stored as" not in printed and "resumes" not in printed and files(root) == uninterrupted
    matrix = f"image/{MATRIX}"
    assert (root / "data/work/features/trunk" / matrix).samefile(checkpoint / "stores" / matrix)


def test_a_changed_input_or_a_truncated_file_starts_the_extraction_again(start, killed_in_the_middle, tmp_path):
    root = tmp_path / "killed"
    killed_in_the_middle(start("killed", 150, batch_size=1), root)
    matrix = progress_files(root)[0].parent / f"partial/image-boundary/{MATRIX}"
    matrix.write_bytes(matrix.read_bytes()[:-1])
    assert "resumes" not in output_of(start("killed", 150, batch_size=1))
    first = files(root)
    (root / "data/weights/new").write_text("another file")
    assert "resumes" not in output_of(start("killed", 150, batch_size=1))
    # DVC can only record the last run of an out, so the finished one before it is removed.
    assert len(list(root.glob(".ckpt/*"))) == 1 and files(root) == first


def opened(root):
    out = root / "data/work/features/trunk"
    names = STORES | VIEWS
    return {name: (open_activations if name.endswith("boundary") else open_store)(out / name) for name in names}


def test_two_processes_store_the_same_values_as_one(start, tmp_path, monkeypatch):
    """42 photos in batches of 5 are nine batches, four of them for the second process; and two views of each photo."""
    views = {"augment": "clip", "views": 2}
    printed = [output_of(start(name, processes=count, **views)) for name, count in (("one", 1), ("two", 2))]
    # What will be done, what will be stored, and what was done, each once and by the first process only.
    for before, size, after in (text.splitlines() for text in printed):
        assert before.startswith("features of trunk: 42 photos and 15 texts by ") and before.endswith("in batches of 5")
        assert size == printed[0].splitlines()[1] and "to be stored as float16" in size
        assert re.sub(r"[\d.,]+ s|[\d.,]+ \w+/s", "", after).split("; ") == [
            "features of trunk: 42 photos in , ", "84 views in , ", "15 texts in , ",
            " in all -> data/work/features/trunk",
        ]  # fmt: skip
    one, two = opened(tmp_path / "one"), opened(tmp_path / "two")
    for name in STORES | VIEWS:
        assert one[name].ids == two[name].ids and one[name].header == two[name].header, name
        assert np.abs(one[name].matrix).max() > 0.1 and np.allclose(one[name].matrix, two[name].matrix, atol=1e-3)
    # They resume after the same photo, here as if killed after the second shard.
    (progress,) = progress_files(tmp_path / "two")
    progress.write_text(progress.read_text().replace("42", "35"))
    (progress.parent / "stores").rename(progress.parent / "partial")
    printed = output_of(start("two", processes=2, **views))
    assert printed.count("image: resumes after 35 of 42 photos") == 1
    assert printed.count("image views: resumes after 84 of 84 views") == 1
    again = opened(tmp_path / "two")
    assert all(np.array_equal(again[name].matrix, two[name].matrix) for name in STORES | VIEWS)

    # Only the first process takes the lock of the folder, while the other waits for it.
    monkeypatch.setenv(LOCK_SECONDS, "0.5")
    with (progress.parent / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, stderr = (process := start("two", processes=2, **views)).communicate(timeout=100)
    assert process.returncode == 1 and "Traceback" not in stderr, stderr
    assert re.fullmatch(r"stages\.features: error: .* another process .*", stderr.splitlines()[-1])
    assert (tmp_path / "two/data/work/features/trunk/image").is_dir()  # the outs of the last run

"""Stages in two processes, as DVC runs them: under torchrun, and its errors, values and orphans.

Two tests use torchrun itself, and one of them real processes of it. All other processes are forks, because each process
imports torch for 9 s.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from endings import still_running
from forked import FORKED_TORCHRUN, TORCHRUN, launcher
from other_machine import write_module
from ruamel.yaml import YAML
from tiny_project import PARAMS, copy_towers, make_settings, write_project

from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.params.section import load_params
from pipeline_lib.stores.store import open_store


@pytest.fixture
def start(tmp_path, tiny_image_folder, tiny_text_folder, fork_server):
    write_project(tmp_path / "data/work")
    for folder in ("data/work/features", "data/weights", "none"):
        (tmp_path / folder).mkdir(parents=True)
    towers = copy_towers(tmp_path, tiny_image_folder, tiny_text_folder)

    def start_stage(*stage, launch="", scales=(), **train):
        settings = make_settings(*towers, **{"init_from": "none", **train})
        params = load_params(PARAMS)
        object.__setattr__(settings, "runtime", settings.runtime.model_copy(update={"batch_size": 5, "workers": 2}))
        for name in ("model", "losses", "train", "runtime"):
            params[name] = getattr(settings, name).model_dump()
        params["plan"]["scales"] = [*scales] or params["plan"]["scales"]
        with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
            YAML().dump(params, stream)
        environment = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", "OMP_NUM_THREADS")}
        # A new Python believes to be on a machine whose name no name server knows, as those of containers may be.
        write_module(tmp_path)
        search = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
        environment |= {"PYTHONPATH": search, SWITCH: str(fork_server)}
        environment |= {"VITRINE_LAUNCH": launch} if launch else {}
        command = [sys.executable, "-m", *(stage or ("stages.train", "--fold", "0"))]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)

    return start_stage


def test_the_stage_trains_in_two_processes_and_reports_a_bad_loss_in_one_line(start, tmp_path):
    process = start(launch=launcher(2), epochs=1)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    out = tmp_path / "data/work/train/0"
    assert sorted(path.name for path in out.iterdir()) == [
        "history.csv", "model.json", "model.safetensors", "seen.npy", "tokenizer", "trainable.json",
    ]  # fmt: skip
    assert np.isfinite(np.genfromtxt(out / "history.csv", delimiter=",", names=True)["total"])
    assert stderr.count("fold 0: 24 products to train on, 12 held out") == 1
    assert stderr.count("epoch 0  ") == 1

    process = start(launch=FORKED_TORCHRUN, head_lr=1e30, tower_lr=1e30, clip_norm=0.0)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 1
    assert not [word for word in ("Traceback", "Error", "torch/distributed") if word in stderr], stderr
    lines = [line for line in stderr.splitlines() if "a loss is not finite" in line]
    assert lines == [stderr.splitlines()[-1]] and lines[0].startswith("stages.train: error: a loss is not finite at ep")
    assert (out / "history.csv").is_file()  # the outs of the last run


def test_a_killed_stage_leaves_a_checkpoint_and_no_processes(start, tmp_path):
    process = start(launch=TORCHRUN, epochs=10_000)
    end = time.monotonic() + 100
    while not list(tmp_path.glob(".ckpt/*/last.pt")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3, process.communicate()
    process.kill()
    process.communicate(timeout=60)
    assert still_running(children, 10) == []
    assert not (tmp_path / "data/work/train/0").exists()


def test_two_processes_write_the_same_embeddings_as_one(start, tmp_path):
    """12 held-out products have 14 photos: three batches of at most 5, one of them for the second process."""
    _, stderr = (trained := start(epochs=1)).communicate(timeout=100)
    assert trained.returncode == 0, stderr
    out, stores = tmp_path / "data/work/embed/0/48", {}
    for processes in (1, 2):
        process = start("stages.embed", "--fold", "0", "--scale", "48", launch=launcher(2) if processes == 2 else "")
        stdout, stderr = process.communicate(timeout=100)
        assert process.returncode == 0, stderr
        assert stdout.count("fold 0 at 48 px: 12 products") == 1
        stores[processes] = {store.name: open_store(store) for store in out.iterdir() if store.is_dir()}
    assert stores[1].keys() == stores[2].keys() == {"products", "queries", "probabilities"}
    for name, single in stores[1].items():
        assert single.ids == stores[2][name].ids and single.header == stores[2][name].header
        assert np.allclose(single.matrix, stores[2][name].matrix, atol=1e-3)

    galleries = []
    for processes in (1, 2):
        process = start("stages.gallery", "--fold", "0", launch=launcher(2) if processes == 2 else "", scales=[48])
        stdout, stderr = process.communicate(timeout=100)
        assert process.returncode == 0, stderr
        assert "gallery of fold 0: 36 products, 12 embedded already, by" in stdout
        galleries.append([open_store(tmp_path / "data/work/gallery/0" / name) for name in ("photos", "texts")])
    for single, double in zip(*galleries, strict=True):
        assert single.ids == double.ids and single.header == double.header
        assert np.allclose(single.matrix, double.matrix, atol=1e-3)

    (tmp_path / "data/work/train/0/model.safetensors").write_bytes(b"no model")
    process = start("stages.embed", "--fold", "0", "--scale", "48", launch=launcher(2))
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 1 and "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("stages.embed: error: ")
    assert out.is_dir()  # the outs of the last run

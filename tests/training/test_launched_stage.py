"""The train stage under torchrun, as DVC runs it: two processes, one line where they cannot go on, and no orphan."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML
from tiny_project import PARAMS, make_settings, write_project

from pipeline_lib.params.section import load_params


@pytest.fixture
def begin(tmp_path, tiny_image_folder, tiny_text_folder):
    write_project(tmp_path / "data/work")
    for folder in ("data/work/features", "data/weights", "none"):
        (tmp_path / folder).mkdir(parents=True)

    def start(**train):
        settings = make_settings(tiny_image_folder, tiny_text_folder, **{"init_from": "none", **train})
        params = load_params(PARAMS)
        for name in ("model", "losses", "train", "runtime"):
            params[name] = getattr(settings, name).model_dump()
        with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
            YAML().dump(params, stream)
        environment = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", "OMP_NUM_THREADS")}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        environment["VITRINE_LAUNCH"] = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2"
        command = [sys.executable, "-m", "stages.train", "--fold", "0"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)

    return start


def test_the_stage_trains_in_two_processes_and_is_told_of_a_bad_loss_in_one_line(begin, tmp_path):
    process = begin(epochs=1)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    out = tmp_path / "data/work/train/0"
    assert sorted(path.name for path in out.iterdir()) == [
        "history.csv", "model.json", "model.safetensors", "plan.json", "tokenizer",
    ]  # fmt: skip
    assert np.isfinite(np.genfromtxt(out / "history.csv", delimiter=",", names=True)["total"])
    assert stderr.count("fold 0: 24 products to train on, 12 held out") == 1
    assert stderr.count("epoch 0  ") == 1

    process = begin(head_lr=1e30, tower_lr=1e30, clip_norm=0.0)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 1
    assert not [word for word in ("Traceback", "Error", "torch/distributed") if word in stderr], stderr
    lines = [line for line in stderr.splitlines() if "a loss is not finite" in line]
    assert lines == [stderr.splitlines()[-1]] and lines[0].startswith("stages.train: error: a loss is not finite at ep")
    assert (out / "history.csv").is_file()  # the last outs


def test_a_killed_stage_leaves_nobody_and_its_checkpoint(begin, tmp_path):
    process = begin(epochs=10_000)
    end = time.monotonic() + 100
    while not list(tmp_path.glob(".ckpt/*/last.pt")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3, process.communicate()
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert not (tmp_path / "data/work/train/0").exists()

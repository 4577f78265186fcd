"""The shards stage as DVC runs it, in a temporary project."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.params.section import load_params
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.write import list_photos, write_shards

PROJECT = Path(__file__).parents[2]
NUM_PHOTOS = 120


@pytest.fixture
def project(tmp_path: Path) -> Path:
    params = load_params(PROJECT / "params.yaml")
    params["data"]["root"] = "raw"
    params["shards"] |= {"size": 32, "quality": 90, "photos_per_shard": 10}
    params["runtime"] |= {"workers": 2}
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
        YAML().dump(params, stream)
    (tmp_path / "raw").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "raw" / "photo.png")
    catalogue = tmp_path / "data/work/catalogue"
    catalogue.mkdir(parents=True)
    ids = [f"p{number}" for number in range(NUM_PHOTOS)]
    pl.DataFrame({"product_id": ids, "media": [["photo.png"]] * NUM_PHOTOS}).write_parquet(catalogue / "media.parquet")
    return tmp_path


def start(project: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "stages.shards"]
    return subprocess.Popen(
        command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_killed_stage_leaves_no_outs_and_the_next_run_is_complete(project: Path) -> None:
    out = project / "data/work/shards"
    killed = start(project)
    deadline = time.monotonic() + 60
    while not list(project.glob("data/work/.shards.*.part/*.tar")) and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(timeout=60) == -signal.SIGKILL  # no communicate(): idle workers keep the pipes open
    killed.stdout.close()
    killed.stderr.close()
    assert not out.exists()
    again = start(project)  # immediately, while workers of the killed run may still encode a photo
    printed, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert f"{NUM_PHOTOS} photos (0 passed through, {NUM_PHOTOS} encoded again, 0 black)" in printed
    assert len(Manifest(out)) == NUM_PHOTOS
    assert len(list(out.iterdir())) == NUM_PHOTOS // 10 + 2
    undisturbed = project / "undisturbed"
    undisturbed.mkdir()
    media = pl.read_parquet(project / "data/work/catalogue/media.parquet")
    params = ShardsParams(size=32, quality=90, photos_per_shard=10, colour_profile="convert")
    write_shards(list_photos(media), project / "raw", params, undisturbed, 1)
    assert digest_folder(out) == digest_folder(undisturbed)


def test_a_missing_photo_is_one_error_line_and_gives_no_outs(project: Path) -> None:
    (project / "raw" / "photo.png").unlink()
    run = start(project)
    printed, errors = run.communicate(timeout=120)
    assert run.returncode == 1
    assert printed == f"shards: {NUM_PHOTOS} photos at 32 px by 2 processes (loky)\n"
    assert errors.startswith("stages.shards: error: raw/photo.png: photo 0 of product 'p")
    assert errors.count("\n") == 1
    assert not (project / "data/work/shards").exists()

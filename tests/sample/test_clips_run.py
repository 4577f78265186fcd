"""Clips from their files to the report: the stages as plain commands on a dozen clips of the sample."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
from dvc.utils.hydra import apply_overrides
from forked import forked
from shop.clip_files import FAULTS
from shop.clips import make_clips, make_sample
from small_shop import SMALL
from stage_commands import stage_commands

from pipeline_lib.artifacts import paths
from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.stores.store import open_store

ROOT = Path(__file__).parents[2]
# Products that do something, with two clips each, products that do nothing, and the seed.
FEW = (4, 4, 17)
FRAMES = 4
SETTINGS = (
    *SMALL, "data.reader=captions_csv", "plan.frames=[clips]", "plan.folds=[0]", "plan.search=[0]",
    f"frames.count={FRAMES}", "model.frames.layers=1", "model.frames.heads=2", "model.frames.pooling=attention",
    "train.photo=mean_pool", "embed.photo=mean_pool", "embed.flip=false", "train.text=random", "train.batch_size=4",
    "losses.cross_entropy.weight=0", "data.max_reject_fraction=0.4", "train.epochs=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_image_folder, tiny_text_folder, fork_server):
    """The folder of a project after all stages that its settings plan."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("pipeline_lib", "stages"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", folder)
    apply_overrides(folder / "params.yaml", SETTINGS)
    shutil.copytree(tiny_image_folder, folder / "data/weights/image")
    shutil.copytree(tiny_text_folder, folder / "data/weights/text")
    for name in (
        "data/raw/shop",
        "data/starts/none",
        "data/predictions/none",
        "data/splits/none",
        "data/work/features",
    ):
        (folder / name).mkdir(parents=True)
    make_sample(folder / "data/raw/shop", *FEW)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "VITRINE"))}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT / "tests/support"))), SWITCH: str(fork_server)}
    commands = stage_commands(ROOT / "dvc.yaml", folder / "params.yaml")
    assert "python -m stages.frames" in commands
    commands.remove("python -m stages.code")  # DVC alone reads its outs
    done = subprocess.run(
        forked("plain_stages"), cwd=folder, env=environment, input="\n".join(commands),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_clips_go_from_their_files_to_the_report(project):
    made = make_clips(*FEW)
    whole = sorted(clip.path for clip in made if clip.fault is None)
    catalogue = project / paths.CATALOGUE
    assert sorted(pl.read_parquet(catalogue / "products.parquet")["product_id"]) == whole
    rejected = pl.read_parquet(catalogue / "rejects.parquet").filter(action="rejected")
    assert len(rejected) == len(FAULTS) + 1
    # One vector a clip, and weights of its frames that sum to 1.
    store = project / paths.embed_of(0, 32)
    tested = sorted(clip.path for clip in made if clip.fault is None and clip.split == "test")
    vectors, weights = open_store(store / "products"), open_store(store / paths.FRAME_WEIGHTS)
    assert set(tested) <= set(vectors.ids) <= set(whole)
    for clip in vectors.ids:
        assert weights.rows([f"{clip}#{frame}" for frame in range(FRAMES)]).sum() == pytest.approx(1, abs=1e-3)
    figures = json.loads((project / "reports/metrics.json").read_text(encoding="utf-8"))["test"]
    queries = pl.read_parquet(catalogue / "queries.parquet").filter(split="test")
    assert figures["retrieval"]["text_to_image"]["num_queries"] == len(queries) > len(tested)
    assert 0 <= figures["retrieval"]["text_to_image"]["R@1"] <= figures["retrieval"]["text_to_image"]["R@5"] <= 1
    # Of each clip and its reverse one is the nearer one.
    own = figures["retrieval"]["text_to_image"]
    assert own["num_subset_queries"] == queries["subset"].list.len().gt(0).sum() > 0
    assert own["chance"]["R_subset@1"] == 0.5 and 0 <= own["R_subset@1"] <= 1
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert 'id="clips"' in page and 'class="reel"' in page and "data-weight" in page
    assert 'data-key="R_subset@1"' in page

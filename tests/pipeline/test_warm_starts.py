"""Train, keep, start from what was kept; and blend start and end: through DVC, on the small shop."""

import json
import subprocess

import pytest
from small_shop import Project

AFTER = ["embed@0-32", "index@flat-0", "ensemble", "evaluate", "report"]
KEPT = "train.init_from=data/starts/mine"


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    made = Project(tmp_path_factory.mktemp("project"), tiny_image_folder, tiny_text_folder)
    made.set_params("plan.folds=[0]", "plan.features=[]")
    made.run("dvc", "repro")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "made")
    return made


def plan(project):
    return json.loads((project.folder / "data/work/train/0/trainable.json").read_text(encoding="utf-8"))


def sources(project):
    return [row["source"] for row in plan(project)["towers"]]


def test_a_kept_experiment_is_a_start_for_others(project):
    """The first run from it trains and all that hangs on it; the second finds everything made."""
    assert sources(project) == ["data/weights/image/model.safetensors", "data/weights/text", "random"]
    weights = (project.folder / "data/work/train/0/model.safetensors").read_bytes()
    printed = project.run("vitrine", "keep", "HEAD", "mine").stdout
    assert "dvc add data/starts/mine" in printed and f"-S {KEPT}" in printed and "folds 0" in printed
    assert (project.folder / "data/starts/mine/0/model.safetensors").read_bytes() == weights
    project.run("dvc", "add", "data/starts/mine")
    project.run("git", "add", "data/starts/mine.dvc")
    assert project.run("git", "status", "--porcelain").stdout == "A  data/starts/mine.dvc\n"
    project.run("git", "commit", "-qm", "a start")

    done = project.run("dvc", "exp", "run", "-n", "warm", "-S", KEPT)
    assert project.ran(done.stdout) == ["train@0", *AFTER]
    assert sources(project) == ["data/starts/mine/0"] * 3
    again = project.run("dvc", "exp", "run", "-n", "again", "-S", KEPT)
    assert project.ran(again.stdout) == []
    project.back()
    assert "data/weights/text" in sources(project) and (project.folder / "data/starts/mine/0").is_dir()


def test_a_share_of_the_start_predicts_without_training_and_search_follows(project):
    done = project.run("dvc", "exp", "run", "-n", "between", "-S", "embed.interpolation=0.5")
    assert project.ran(done.stdout) == AFTER
    shown = json.loads((project.folder / "data/work/index/flat-0/manifest.json").read_text())["model"]
    card = json.loads((project.folder / "data/work/train/0/model.json").read_text())
    assert shown != card["fingerprint"]
    assert project.run("vitrine", "search", "red mug", "--top", "3").stdout.count("p") >= 3
    project.set_params("embed.interpolation=1.0")
    other = project.run("vitrine", "search", "red mug", check=False)
    assert other.returncode == 1
    assert f"built with model {shown}, but the queries use {card['fingerprint']}" in other.stderr
    project.back()
    assert project.ran(project.run("dvc", "repro", "--dry").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "other"), "nowhere: no such revision or experiment"),
        (("HEAD", "a/b"), "'a/b' is no name for a folder under data/starts"),
        (("HEAD", "none"), "data/starts/none exists already with other content"),
    ],
)
def test_what_cannot_be_kept_is_one_line(project, arguments, told):
    done: subprocess.CompletedProcess[str] = project.run("vitrine", "keep", *arguments, check=False)
    assert done.returncode == 1 and told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_start_without_a_models_fold_is_one_line(project):
    project.set_params(KEPT, "plan.folds=[1]")
    done = project.run("dvc", "repro", "train", check=False)
    project.back()
    assert done.returncode != 0
    assert "data/starts/mine/model.safetensors is missing for fold 1; data/starts/mine holds 0" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr

"""The pipeline through DVC itself: everything once, nothing twice, and only what a change can reach."""

import csv
import json
import subprocess
import time

import polars as pl
import pytest
from small_shop import Project

DOWNSTREAM = ["train@0", "train@1", "embed@0-32", "embed@1-32", "index@flat-0", "index@flat-1"]
DOWNSTREAM += ["ensemble", "evaluate", "report"]
RETRIEVAL = {"R@1", "R@5", "R@10", "MeanRecall", "median_rank", "mean_rank", "num_queries", "num_gallery"}


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    made = Project(tmp_path_factory.mktemp("project"), tiny_image_folder, tiny_text_folder)
    made.first = made.run("dvc", "repro").stdout
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "made")
    return made


def test_every_stage_runs_once(project):
    assert sorted(project.ran(project.first)) == sorted(["catalogue", "folds", "shards", "features@trunk", *DOWNSTREAM])


def test_metrics_have_exactly_the_promised_paths(project):
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    for part in ("oof", "test"):
        # Slices stand only where a split has products of several kinds.
        assert set(metrics[part]) - {"classification_by_modality"} == {"retrieval", "classification", "baselines"}
        assert set(metrics[part]["retrieval"]) == {"text_to_image", "image_to_text"}
        assert all(set(row) == RETRIEVAL for row in metrics[part]["retrieval"].values())
        assert set(metrics[part]["classification"]) == {"top1", "top3", "macro_f1", "balanced_accuracy", "ece"}
        probes = {"linear_probe", "linear_probe_image", "linear_probe_text"}
        assert set(metrics[part]["baselines"]) == {"knn", *probes}  # its towers are no pair: no zero-shot
    assert metrics["data"] == {"products": 71, "queries": metrics["data"]["queries"], "rejected": 2}
    assert set(metrics) == {"oof", "test", "data"}


def test_every_test_product_is_in_the_submission(project):
    folds = pl.read_parquet(project.folder / "data/work/folds/folds.parquet")
    with (project.folder / "data/work/ensemble/submission.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["id"] for row in rows) == sorted(folds.filter(pl.col("split") == "test")["product_id"])
    assert {row["label"] for row in rows} <= {"mug", "hat", "lamp"}


def test_again_there_is_nothing_to_do(project):
    """Byte-compiled files appear between the runs: they must not count as changed code."""
    assert list(project.folder.glob("pipeline_lib/**/*.pyc"))
    assert project.ran(project.run("dvc", "repro").stdout) == []
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_an_experiment_reruns_training_and_what_hangs_on_it(project):
    done = project.run("dvc", "exp", "run", "-n", "deeper", "-S", "train.unfreeze_layers=3")
    assert sorted(project.ran(done.stdout)) == sorted(DOWNSTREAM)
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    assert "deeper" in json.dumps(shown)
    compared = project.run("vitrine", "compare", "HEAD", "deeper", "--resamples", "200").stdout
    assert "MeanRecall" in compared
    project.back()


def test_predictions_of_another_run_are_fused_without_training_again(project):
    kept = project.run("vitrine", "keep-predictions", "HEAD", "deeper", "both").stdout
    assert "data/predictions/both: the class predictions of HEAD, deeper" in kept
    change = kept.splitlines()[-1].split("dvc exp run ")[1].split()
    done = project.run("dvc", "exp", "run", "-n", "fused", *change)
    assert project.ran(done.stdout) == ["ensemble", "evaluate", "report"]
    told = json.loads((project.folder / "data/work/ensemble/fusion.json").read_text())
    assert set(told["test"]["others"]) == {"HEAD", "deeper"}
    assert sum({**told["test"]["weights"], **told["test"]["others"]}.values()) == pytest.approx(1, abs=1e-5)
    assert "they are fused with those of HEAD" in (project.folder / "reports/index.html").read_text()
    assert "top1" in project.run("vitrine", "compare", "HEAD", "fused", "--resamples", "200").stdout
    project.back()


def test_the_trained_models_answer_a_search(project):
    found = project.run("vitrine", "search", "red mug", "--top", "3").stdout
    assert found.count("p") >= 3
    project.run("vitrine", "headline")


def test_rerunning_by_force_gives_the_same_bytes(project):
    """dvc.lock holds the hash of every out: the same inputs and settings must give the same ones."""
    before = (project.folder / "dvc.lock").read_text()
    project.run("dvc", "repro", "--force")
    assert (project.folder / "dvc.lock").read_text() == before


def test_a_new_split_or_loss_does_not_make_the_shards_again(project):
    project.set_params("split.test_fraction=0.3")
    ran = project.ran(project.run("dvc", "repro", "--dry").stdout)
    project.back()
    assert ran[0] == "folds"
    assert not {"shards", "features@trunk"} & set(ran)
    code = (project.folder / "pipeline_lib/losses/info_nce.py").read_text()
    (project.folder / "pipeline_lib/losses/info_nce.py").write_text(code + "# changed\n")
    ran = project.ran(project.run("dvc", "repro", "--dry").stdout)
    (project.folder / "pipeline_lib/losses/info_nce.py").write_text(code)
    assert ran[0].startswith("train@")


def test_an_edited_text_stores_no_photo_again_and_an_edited_photo_does(project):
    table, photo = (project.folder / "data/raw/shop" / name for name in ("products.csv", "images/p3.jpg"))
    before = table.read_bytes()
    table.write_bytes(before.replace(b"red mug again", b"another text"))
    ran = project.ran(project.run("dvc", "repro", "shards").stdout)
    table.write_bytes(before)
    assert ran == ["catalogue"]
    bytes_before = photo.read_bytes()
    photo.write_bytes((project.folder / "data/raw/shop/images/p4.jpg").read_bytes())
    ran = project.ran(project.run("dvc", "repro", "shards").stdout)
    photo.write_bytes(bytes_before)
    project.back()
    assert ran == ["catalogue", "shards"]


def test_params_edited_while_a_stage_runs_are_not_recorded(project):
    """DVC hashes params after the command: without the guard the old result would stand under the new setting."""
    process = subprocess.Popen(
        ["dvc", "repro", "--single-item", "--force", "train@0"],
        cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    half = project.folder / "data/work/train/.0.part"
    end = time.monotonic() + 60
    while not half.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert half.exists()
    project.set_params("train.head_lr=0.5")
    printed, _ = process.communicate(timeout=120)
    project.back()
    assert process.returncode != 0
    assert "stages.train: error: stages.train: train changed while the stage ran" in printed


def test_emptied_lists_take_stages_away(project):
    project.set_params("plan.features=[]", "plan.index=[]")
    ran = project.run("dvc", "repro").stdout
    listed = project.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert not [name for name in listed if name.startswith(("features", "index"))]
    assert "report" in listed
    assert "train@0" in ran
    project.back()


@pytest.mark.parametrize(
    ("override", "stage", "text"),
    [
        ("train.batch_size=0", "train@0", "params.yaml: train.batch_size = 0: input should be greater than 0"),
        ("plan.folds=[0,4]", "folds", "plan.folds"),
        ("data.root=data/raw/nowhere", None, "data/raw/nowhere"),
    ],
)
def test_bad_settings_end_in_one_line(project, override, stage, text):
    project.set_params(override)
    done = project.run("dvc", "repro", check=False)
    project.back()
    assert done.returncode != 0
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("wrong", "right", "text"),
    [
        (
            "unfreez_layers: 1",
            "unfreeze_layers: 1",
            "train.unfreez_layers is not a setting; did you mean 'unfreeze_layers'?",
        ),
        ("head_lr: .nan", "head_lr: 0.003", "train.head_lr = nan: input should be a finite number"),
        ("seeed: 7", "seed: 7", "seed is missing"),
    ],
)
def test_check_finds_a_misspelt_key_and_nan_before_anything_runs(project, wrong, right, text):
    path = project.folder / "params.yaml"
    before = path.read_text()
    assert right in before
    path.write_text(before.replace(right, wrong))
    done = project.run("vitrine", "check", check=False)
    path.write_text(before)
    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

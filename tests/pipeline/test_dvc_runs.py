"""The pipeline under DVC: the first run executes every stage once, later runs only what a change affects."""

import csv
import json
import shutil
import subprocess
import time

import polars as pl
import pytest
from metric_paths import undescribed
from output_names import unnamed
from stage_commands import stage_commands

DOWNSTREAM = ["train@0", "train@1", "embed@0-32", "embed@1-32", "gallery@0", "index@flat-0"]
DOWNSTREAM += ["ensemble", "evaluate", "report"]
RETRIEVAL = {"R@1", "R@5", "R@10", "MeanRecall", "median_rank", "mean_rank", "num_queries", "num_gallery", "chance"}
CLASSIFICATION = {"top1", "top3", "macro_f1", "balanced_accuracy", "ece", "num_products", "num_unlearned", "chance"}


def written_at(project):
    """When each file of the outs was written."""
    folders = (project.folder / name for name in ("data/work", "reports"))
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != ".gitkeep")
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def project(built_project, fork_server, tmp_path_factory):
    return built_project.copy(tmp_path_factory.mktemp("runs") / "project", fork_server)


def test_every_stage_runs_once(project):
    stages = ["code", "catalogue", "folds", "shards", "features@trunk", "views@32", "baselines", *DOWNSTREAM]
    assert sorted(project.run_stages(project.first_output)) == sorted(stages)


def test_metrics_have_exactly_the_documented_paths(project):
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    for part in ("oof", "test"):
        # The slices exist only if a split has products of several kinds.
        branches = set(metrics[part]) - {"classification_by_modality"}
        assert branches == {"retrieval", "embedding", "classification", "baselines"}
        assert set(metrics[part]["retrieval"]) == {"text_to_image", "image_to_text"}
        assert all(set(row) == RETRIEVAL for row in metrics[part]["retrieval"].values())
        assert set(metrics[part]["classification"]) == CLASSIFICATION
        probes = {"linear_probe", "linear_probe_image", "linear_probe_text"}
        assert set(metrics[part]["baselines"]) == {"knn", *probes}  # no zero-shot: the towers have no joint space
    data = metrics["data"]
    assert (data["products"], data["rejected"]) == (71, 2)
    assert data["columns"] == {"id": "id", "label": "label", "text": "text"}
    assert set(data) == {"products", "queries", "rejected", "columns", "groups"}
    assert set(metrics) == {"oof", "test", "data"}
    assert undescribed(metrics) == []


def test_every_file_of_the_outs_is_in_docs_outputs(project):
    assert unnamed(project.folder) == []


def test_every_test_product_is_in_the_submission(project):
    folds = pl.read_parquet(project.folder / "data/work/folds/folds.parquet")
    with (project.folder / "data/work/ensemble/submission.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["id"] for row in rows) == sorted(folds.filter(pl.col("split") == "test")["product_id"])
    assert {row["label"] for row in rows} <= {"mug", "hat", "lamp"}


def test_a_second_run_does_nothing(project):
    """Byte-compiled files that appear between the runs, and the folder's own path, are no changes of code."""
    assert list(project.folder.glob("pipeline_lib/**/*.pyc"))
    assert project.run_stages(project.run("dvc", "repro").stdout) == []
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_the_trained_models_answer_a_search(project):
    printed = project.run_vitrine("search", "red mug", "--top", "3").stdout
    assert printed.count("p") >= 3
    project.run_vitrine("headline")


def test_another_run_gives_the_same_bytes(project):
    """dvc.lock contains the hash of every out; the stages run without DVC, which here only compares."""
    before = written_at(project)
    lines = stage_commands(project.folder / "dvc.yaml", project.folder / "params.yaml")
    assert len(lines) == len(project.run_stages(project.first_output))
    project.run_forked("plain_stages", stdin="\n".join(lines))
    after = written_at(project)
    assert not [path for path in before if after[path] == before[path]]
    assert project.run_stages(project.run("dvc", "repro", "--dry").stdout) == []
    shutil.rmtree(project.folder / ".ckpt")  # otherwise the next training would resume the finished run


def test_a_judged_fold_needs_no_training(project):
    """Nothing is executed; tests/serving/test_judged_stage.py runs the stage."""
    project.set_params("plan.judged=[0]")
    stages = project.run_stages(project.run("dvc", "repro", "--dry").stdout)
    project.run("git", "checkout", "-q", ".")
    assert stages[:2] == ["judged@0", "evaluate"] and set(stages) <= {"judged@0", "evaluate", "report"}


def test_a_new_split_loss_or_layer_does_not_rerun_the_shards(project):
    """Nothing is executed; tests/pipeline/test_experiments.py has what runs after training."""
    project.set_params("split.test_fraction=0.3")
    stages = project.run_stages(project.run("dvc", "repro", "--dry").stdout)
    project.run("git", "checkout", "-q", ".")
    assert stages[0] == "folds"
    assert not {"shards", "features@trunk"} & set(stages)
    code = (project.folder / "pipeline_lib/losses/info_nce.py").read_text()
    (project.folder / "pipeline_lib/losses/info_nce.py").write_text(code + "# changed\n")
    project.run("dvc", "repro", "code")  # before it, DVC knows only that this stage has to run
    stages = project.run_stages(project.run("dvc", "repro", "--dry").stdout)
    (project.folder / "pipeline_lib/losses/info_nce.py").write_text(code)
    project.run("dvc", "repro", "code")
    assert sorted(stages) == ["train@0", "train@1"]
    project.set_params("train.unfreeze_layers=3")
    stages = project.run_stages(project.run("dvc", "repro", "--dry").stdout)
    project.run("git", "checkout", "-q", ".")
    assert sorted(stages) == ["train@0", "train@1"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("model.classifier.inputs=image", {"train@0", "train@1"}),
        ("model.temperature=fixed", {"train@0", "train@1"}),
        ("model.embedding_dim=8", {"train@0", "train@1"}),
        ("features.trunk.view_seed=3", {"features@trunk"}),
        ("features.max_gb=49", set()),
        ("embed.flip=false", {"views@32", "embed@0-32", "embed@1-32", "gallery@0"}),
        ("index.photo_weight=1", {"index@flat-0"}),
    ],
)
def test_a_changed_setting_reruns_what_docs_settings_says(project, change, expected):
    """DVC's own answer for some of the keys that tests/architecture/test_reruns.py lists; nothing is executed."""
    project.set_params(change)
    stages = project.run_stages(project.run("dvc", "repro", "--dry").stdout)
    project.run("git", "checkout", "-q", ".")
    assert set(stages) == expected


def test_an_edited_photo_reruns_the_shards_and_an_edited_text_does_not(project):
    table, photo = (project.folder / "data/raw/shop" / name for name in ("products.csv", "images/p3.jpg"))
    before = table.read_bytes()
    table.write_bytes(before.replace(b"red mug again", b"another text"))
    stages = project.run_stages(project.run("dvc", "repro", "shards").stdout)
    table.write_bytes(before)
    assert stages == ["catalogue"]
    bytes_before = photo.read_bytes()
    photo.write_bytes((project.folder / "data/raw/shop/images/p4.jpg").read_bytes())
    stages = project.run_stages(project.run("dvc", "repro", "shards").stdout)
    photo.write_bytes(bytes_before)
    project.restore()
    assert stages == ["catalogue", "shards"]


def test_params_edited_while_a_stage_runs_are_not_recorded(project):
    """DVC hashes params after the command, so without the guard it would record the outs under the new params."""
    process = subprocess.Popen(
        ["dvc", "repro", "--single-item", "--force", "train@0"],
        cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    train = project.folder / "data/work/train"
    end = time.monotonic() + 60
    while not list(train.glob(".0.*.part")) and time.monotonic() < end:
        time.sleep(0.01)
    assert list(train.glob(".0.*.part"))
    project.set_params("train.head_lr=0.5")
    printed, _ = process.communicate(timeout=120)
    project.restore()
    assert process.returncode != 0
    assert "stages.train: error: stages.train: train changed while the stage ran" in printed


@pytest.mark.parametrize(
    ("override", "stage", "text"),
    [
        ("train.batch_size=0", "train@0", "params.yaml: train.batch_size = 0: input should be greater than 0"),
        ("plan.folds=[0,4]", "folds", "plan.folds"),
        ("data.root=data/raw/nowhere", None, "data/raw/nowhere"),
    ],
)
def test_a_bad_setting_is_one_line(project, override, stage, text):
    project.set_params(override)
    done = project.run("dvc", "repro", check=False)
    project.restore()
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
        ("seeed: 7", "seed: 7", "split.seeed is not a setting; did you mean 'seed'?"),
    ],
)
def test_check_finds_a_misspelt_key_and_nan_before_a_run(project, wrong, right, text):
    path = project.folder / "params.yaml"
    before = path.read_text()
    assert right in before
    path.write_text(before.replace(right, wrong))
    done = project.run("vitrine", "check", check=False)
    path.write_text(before)
    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

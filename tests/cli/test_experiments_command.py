"""`vitrine experiments` on a repository with real experiments of DVC: saved, queued, of two commits."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick_dvc import run_dvc
from typer.testing import CliRunner

from pipeline_lib.cli import experiments as command
from pipeline_lib.cli.main import app
from pipeline_lib.experiments.listing import queue
from pipeline_lib.experiments.listing.commits import Commit, git, read_files
from pipeline_lib.experiments.listing.rows import list_experiments

# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

PIPELINE = """
stages:
  evaluate:
    cmd: "true"
    params: [train, losses]
    outs: [out.txt]
    metrics:
    - reports/metrics.json: {cache: false}
    - reports/intervals.json: {cache: false}
"""
PARAMS = (
    "train:\n  epochs: {epochs}\n  lr: {lr}\nlosses:\n  triplet:\n    weight: {weight}\nruntime:\n  workers: {epochs}\n"
)


def run(root: Path, *words: str) -> str:
    if words[0] == "dvc":
        return run_dvc(root, *words[1:]).stdout
    return subprocess.run(words, cwd=root, check=True, capture_output=True, text=True).stdout


def write(root: Path, epochs: int, lr: str, weight: float, recall: float) -> None:
    def tree(value):
        figures = {"R@1": value, "MeanRecall": value}
        return {"test": {"retrieval": {"text_to_image": figures, "image_to_text": figures}}}

    (root / "params.yaml").write_text(PARAMS.format(epochs=epochs, lr=lr, weight=weight), encoding="utf-8")
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports/metrics.json").write_text(json.dumps(tree(recall)), encoding="utf-8")
    (root / "reports/intervals.json").write_text(json.dumps(tree([recall - 0.01, recall + 0.01])), encoding="utf-8")
    (root / "out.txt").write_text(str(recall), encoding="utf-8")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """HEAD~1 with `early`; HEAD with `higher`, `lower|pipe` and a queued `waits`; the working tree as HEAD."""
    root = tmp_path_factory.mktemp("project")
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "dvc", "init", "-q")
    for key, value in (("email", "t@t"), ("name", "t")):
        run(root, "git", "config", f"user.{key}", value)
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    write(root, 3, "1e-4", 0.0, 0.50)
    run(root, "dvc", "commit", "-q", "-f")
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "first")
    write(root, 9, "1e-4", 0.0, 0.40)
    run(root, "dvc", "exp", "save", "-q", "--force", "-n", "early")
    write(root, 4, "1e-4", 0.0, 0.55)
    run(root, "dvc", "commit", "-q", "-f")
    run(root, "git", "commit", "-qam", "second")
    for name, changes in {"higher": (4, "2e-4", 0.5, 0.60), "lower": (5, "1e-4", 0.0, 0.30)}.items():
        write(root, *changes)
        run(root, "dvc", "exp", "save", "-q", "--force", "-n", name)
        time.sleep(1.01 - time.time() % 1)  # git's dates have whole seconds
    run(root, "git", "checkout", "-q", ".")
    run(root, "dvc", "exp", "run", "--queue", "-q", "-n", "waits", "-S", "train.epochs=7")
    return root


@pytest.fixture
def listed(repository, monkeypatch):
    monkeypatch.chdir(repository)

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, ["experiments", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_each_experiment_has_its_changes_and_figures(listed):
    rows = [line.split("\t") for line in listed("--sort", "date").splitlines()]
    changed = {row[0]: row[3] for row in rows}
    assert changed == {
        "HEAD": "",
        "higher": "train.lr=0.0002 (was 0.0001); losses.triplet.weight=0.5 (was 0.0)",
        "lower": "train.epochs=5 (was 4)",
        "waits": "train.epochs=7 (was 4)",
        "workspace": "",
    }
    assert [row[0] for row in rows] == ["HEAD", "higher", "lower", "waits", "workspace"]
    assert {row[0]: row[1] for row in rows}["waits"] == "queued"
    assert rows[1][4:] == ["60.0 % 59.0–61.0", "60.0 % 59.0–61.0"] and rows[3][4:] == ["-", "-"]


def test_experiments_of_other_commits_are_listed_on_demand(listed):
    document = json.loads(listed("--all-commits", "--json"))["experiments"]
    early = next(one for one in document if one["name"] == "early")
    assert early["changes"] == [{"key": "train.epochs", "old": 3, "new": 9}] and early["parent"] != "HEAD"
    assert {"split": "test", "task": "text_to_image", "metric": "R@1", "value": 0.4, "low": 0.39, "high": 0.41} in [
        {**figure, "low": round(figure["low"], 9), "high": round(figure["high"], 9)} for figure in early["figures"]
    ]
    assert "early" not in listed("--json")


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", ["HEAD", "higher", "lower", "waits", "workspace"]),
        ("R@1", ["higher", "workspace", "HEAD", "lower", "waits"]),
        ("test.image_to_text.MeanRecall", ["higher", "workspace", "HEAD", "lower", "waits"]),
    ],
)
def test_the_list_is_sorted_best_first(listed, sort, order):
    assert [line.split("\t")[0] for line in listed("--sort", sort).splitlines()] == order


def test_a_figure_that_nothing_has_is_one_line(listed):
    with pytest.raises(ValueError, match=r"--sort R@2: .* MeanRecall, R@1"):
        listed("--sort", "R@2")


def test_it_fits_100_columns_and_is_markdown_on_demand(listed, in_terminal):
    lines = in_terminal(100, lambda: command.experiments(False, "date", False, False))
    assert max(map(len, lines)) <= 100 and any("higher" in line for line in lines)
    text = listed("--md").splitlines()
    assert text[1] == "| --- | --- | --- | --- | ---: | ---: |" and len({line.count(" | ") for line in text}) == 1


def test_files_are_read_from_the_commit_and_not_from_the_folder(repository, monkeypatch):
    monkeypatch.chdir(repository / "reports")
    head = git("rev-parse", "HEAD").decode().strip()
    found = read_files([head], ["metrics.json", "nothing.json"])
    assert set(found) == {(head, "metrics.json")} and b"0.55" in found[head, "metrics.json"]


def test_failed_runs_are_listed_with_their_state(repository, monkeypatch):
    monkeypatch.chdir(repository)
    head = git("rev-parse", "HEAD").decode().strip()
    states = {"failed": [Commit("broke", head, head, 0)]}
    monkeypatch.setattr("pipeline_lib.experiments.listing.rows.queued_commits", lambda: states)
    found = {one.name: (one.state, one.metrics) for one in list_experiments()}
    assert found["broke"] == ("failed", {}) and found["higher"][0] == "done"


def test_a_commit_and_a_working_tree_that_were_not_run_have_no_figures(repository, monkeypatch, vitrine):
    """Figures beside other settings than those of their run would be taken for a result of these settings."""
    monkeypatch.chdir(repository)
    params = (repository / "params.yaml").read_text(encoding="utf-8")
    head = git("rev-parse", "HEAD").decode().strip()

    def rows():
        result = vitrine("experiments")
        return {line.split("\t")[0]: line.split("\t")[4:] for line in result.stdout.splitlines()}, result.stderr

    shown = ["55.0 % 54.0–56.0"] * 2
    assert rows()[0]["workspace"] == rows()[0]["HEAD"] == shown and "no figures" not in rows()[1]
    try:
        (repository / "params.yaml").write_text(params.replace("workers: 4", "workers: 8"), encoding="utf-8")
        assert rows()[0]["workspace"] == shown
        (repository / "params.yaml").write_text(params.replace("epochs: 4", "epochs: 6"), encoding="utf-8")
        found, notes = rows()
        assert found["workspace"] == ["-", "-"] and found["HEAD"] == shown
        assert notes.startswith("workspace has no figures: train.epochs changed after its run; run `dvc repro`\n")
        document = json.loads(vitrine("experiments", "--json").stdout)["experiments"]
        states = {one["name"]: (one["changed_since"], bool(one["figures"])) for one in document}
        assert states["workspace"] == (["train.epochs"], False) and states["HEAD"] == ([], True)
        run(repository, "git", "commit", "-qam", "not run")
        found, notes = rows()
        assert found == {"HEAD": [], "workspace": []} and notes.startswith("HEAD has no figures: ")  # no columns either
    finally:
        (repository / "params.yaml").write_text(params, encoding="utf-8")
        run(repository, "git", "reset", "-q", "--hard", head)
    assert rows()[0]["workspace"] == shown


def test_without_a_queue_dvc_is_not_imported(repository, monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "CELERY", tmp_path / "none")
    assert queue.queued_commits() == {}
    code = "import sys; from pipeline_lib.experiments.listing.rows import list_experiments as f; f(); "
    code = f"import pipeline_lib.experiments.listing.queue as q, pathlib; q.CELERY = pathlib.Path('none'); {code}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('dvc' in sys.modules)"], cwd=repository, env=environment, check=False
    )
    assert done.returncode == 0


def test_outside_a_repository_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ValueError, match="git rev-parse: .*not a git repository"):
        list_experiments()

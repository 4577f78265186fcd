"""What the server opens: a second project from elsewhere, and what it refuses in one line."""

import contextlib
import shutil

import pytest
from typer.testing import CliRunner

from pipeline_lib.artifacts import paths
from pipeline_lib.cli.main import app
from pipeline_lib.cli.serve import _second
from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.query import Job, Query
from pipeline_lib.serving.server import Place, make_service

runner = CliRunner()


def test_a_project_in_another_folder_answers_as_it_does_at_home(served_root, service, tmp_path):
    other = shutil.copytree(served_root, tmp_path / "other shop")
    with contextlib.chdir(served_root):
        made = make_service([Place(0), Place(1, other)], None, Limits())
    assert [one.model.name for one in made.opened] == ["fold 0", "other shop, fold 1"]
    job = Job(Query("red mug"), 10)
    (ours,), (home,) = made.opened[1].model.answer([job]), service.opened[1].model.answer([job])
    assert [found.row for found in ours.found] == [found.row for found in home.found]
    photo = made.opened[1].photos.read("p6", 1)
    assert photo is not None and photo.data == service.opened[1].photos.read("p6", 1).data
    made.close()


def test_without_a_kind_the_first_of_the_plan_answers(project):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert "index: [flat]" in text
    (project / "params.yaml").write_text(text.replace("index: [flat]", "index: [hnsw, flat]"), encoding="utf-8")
    made = make_service([Place(0), Place(0, kind="ivf")], None, Limits())
    assert [one.model.index.manifest["kind"] for one in made.opened] == ["hnsw", "ivf"]
    made.close()
    (project / "params.yaml").write_text(text.replace("index: [flat]", "index: []"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"params.yaml: plan.index is \[\]; set plan.index = \[flat\]"):
        make_service([Place(0)], None, Limits())


def test_a_second_model_is_a_fold_or_a_folder_with_one():
    assert _second("2", 0, None) == Place(2)
    found = [_second(text, 1, "ivf") for text in ("../old", "../old:3", "shop:5")]
    assert [(str(one.root), one.fold, one.kind) for one in found] == [
        ("../old", 1, "ivf"), ("../old", 3, "ivf"), ("shop", 5, "ivf"),
    ]  # fmt: skip


@pytest.fixture
def project(served_root, tmp_path, monkeypatch):
    """A copy of the project as the working directory."""
    copied = shutil.copytree(served_root, tmp_path / "project")
    monkeypatch.chdir(copied)
    return copied


def refusal(*arguments):
    result = runner.invoke(app, ["serve", "--listen", "0", *arguments])
    assert isinstance(result.exception, ValueError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_what_is_missing_is_one_line_with_the_way_out(project):
    assert "ivf_pq-0: no index here (its manifest.json is missing); add its kind to plan.index" in refusal(
        "--kind", "ivf_pq"
    )
    assert "train/7: no trained model here" in refusal("--fold", "7")
    assert refusal("--listen", "here").startswith("--listen here: not an address; write PORT or HOST:PORT")
    assert "nowhere: no project here (its params.yaml is missing)" in refusal("--against", "nowhere")
    (project / "products.csv").write_text("id\n", encoding="utf-8")
    assert "products.csv: its first line must be" in refusal("--judgements", "products.csv")


def test_an_index_of_another_model_is_refused(project):
    shutil.rmtree(project / paths.train_of(0))
    shutil.copytree(project / paths.train_of(1), project / paths.train_of(0))
    assert "built with model" in refusal() and "run `dvc repro`" in refusal()


def test_a_port_that_is_taken_is_one_line(project, address):
    port = address.rpartition(":")[2]
    result = runner.invoke(app, ["serve", "--listen", port, "--judgements", "none"])
    assert isinstance(result.exception, OSError)
    assert str(result.exception).startswith(f"cannot listen to 127.0.0.1:{port}: ")

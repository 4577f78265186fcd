"""`vitrine doctor` on copies of this project: its weights, settings and catalogue, and the room they need."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from quick_dvc import run_dvc
from safetensors.numpy import save_file
from typer.testing import CliRunner

from pipeline_lib.cli.main import app
from pipeline_lib.experiments.doctor.checks import run_checks
from pipeline_lib.experiments.doctor.disk import read_disk
from pipeline_lib.experiments.doctor.project import read_weights, safetensors_fault
from pipeline_lib.params.section import load_params

# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

LOCK = """
schema: '2.0'
stages:
  train@0:
    cmd: python -m stages.train
    outs:
    - path: data/work/train/0
      md5: d41d8cd98f00b204e9800998ecf8427e.dir
      size: 100
"""


def weights_file(path: Path) -> bytes:
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.arange(6.0)}, path)
    return path.read_bytes()


def test_weights_are_judged_by_header_and_size(tmp_path):
    file = tmp_path / "w.safetensors"
    content = weights_file(file)
    assert safetensors_fault(file, tmp_path) is None
    for size in range(len(content)):
        file.write_bytes(content[:size])
        assert safetensors_fault(file, tmp_path), size
    for damaged in (bytes(len(content)), content + b"x", b"\xff" * len(content)):
        file.write_bytes(damaged)
        assert str(safetensors_fault(file, tmp_path)).startswith("w.safetensors: ")


def test_weights_are_looked_up_where_params_name_them(project):
    params = load_params(project / "params.yaml")
    assert [one.place for one in read_weights(project, params)] == ["made", "made"]
    weights_file(project / "data/sample/weights/image/model.safetensors")
    (project / "data/sample/weights/text").mkdir(parents=True)
    (project / "data/sample/weights/text/pytorch_model.bin").touch()
    image, text = read_weights(project, params)
    assert (image.place, image.files, text.files, text.unsafe) == ("local", 1, 0, ("pytorch_model.bin",))
    params["model"]["image"]["name"], params["model"]["text"]["name"] = "data/weights/mine", "org/model"
    assert [one.place for one in read_weights(project, params)] == ["missing", "hub"]


def levels(root: Path) -> dict[str, str]:
    order = ("ok", "note", "problem")
    found: dict[str, str] = {}
    for check, finding in run_checks(root):
        found[check] = max(found.get(check, "ok"), finding.level, key=order.index)
    return found


def test_a_fresh_project_has_no_problem_and_a_broken_one_names_its_fault(project, monkeypatch):
    monkeypatch.chdir(project)
    assert [one for one in levels(project).items() if one[1] == "problem" and one[0] not in ("versions", "disk")] == []
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text[:3000], encoding="utf-8")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  catalo", encoding="utf-8")
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    (project / ".dvc/tmp/rwlock").touch()
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    problems = {one["check"] for one in document["findings"] if one["level"] == "problem"}
    assert {"params", "dvc files", "killed runs"} <= problems and document["problems"] >= 3
    assert all("Traceback" not in one["message"] and "\n" not in one["message"] for one in document["findings"])


def test_a_yaml_file_that_is_cut_is_one_line_and_the_other_checks_still_run(project):
    (project / "params.yaml").write_text("data:\n  root: [", encoding="utf-8")
    found = run_checks(project)
    assert next(one.finding.message for one in found if one.check == "params").startswith("params.yaml: not valid")
    assert {one.check for one in found if "before params.yaml is mended" in one.finding.message} == {
        "weights",
        "cores",
        "gpu",
        "disk",
    }


def test_the_disk_is_compared_with_recorded_and_estimated_sizes(project):
    """Recorded: train@0 with 100 bytes; the plan has 3 folds. Estimated: shards of 10 photos of 96 x 96 bytes."""
    (project / "dvc.lock").write_text(LOCK, encoding="utf-8")
    params = load_params(project / "params.yaml")
    assert "shards" in read_disk(project, params).without
    (project / "data/work/catalogue").mkdir(parents=True)
    (project / "data/work/catalogue/counts.json").write_text('{"products": 10, "queries": 5}', encoding="utf-8")
    found = read_disk(project, params)
    assert found.recorded == {"train": 300} and found.estimated["shards"] == 10 * 96**2 and not found.without
    assert found.estimated["embed"] == 15 * 128 * 2 * len(params["plan"]["folds"]) * len(params["plan"]["scales"])


def test_a_model_is_estimated_by_its_own_towers(project):
    """Other weights in the same folder are none of it; nothing is in the cache, whose place the settings name."""
    (project / "data/work/catalogue").mkdir(parents=True)
    (project / "data/work/catalogue/counts.json").write_text('{"products": 10, "queries": 5}', encoding="utf-8")
    params = load_params(project / "params.yaml")
    image = len(weights_file(project / params["model"]["image"]["name"] / "model.safetensors"))
    text = len(weights_file(project / params["model"]["text"]["name"] / "model.safetensors"))
    weights_file(project / params["model"]["weights_root"] / "another/model.safetensors")
    found = read_disk(project, params)
    assert found.estimated["train"] == 6 * (image + text) * len(params["plan"]["folds"])
    assert found.copies == 1
    run_dvc(project, "config", "--quiet", "cache.type", "copy")
    assert read_disk(project, params).copies == 2


def catalogued(project: Path, root: str) -> str:
    """Track a folder `root` with DVC's hash 1, and write dvc.lock as the stage catalogue leaves it for these data."""
    (project / root).mkdir(parents=True, exist_ok=True)
    (project / f"{root}.dvc").write_text(f"outs:\n- md5: {1:032x}.dir\n  path: {Path(root).name}\n", encoding="utf-8")
    apply_overrides(project / "params.yaml", [f"data.root={root}"])
    data = load_params(project / "params.yaml")["data"]
    entry = {"cmd": "python -m stages.catalogue", "deps": [{"path": root, "md5": f"{1:032x}.dir"}]}
    entry |= {"params": {"params.yaml": {"data": data, "plan.frames": []}}}
    lock = yaml.safe_dump({"schema": "2.0", "stages": {"catalogue": entry}})
    (project / "dvc.lock").write_text(lock, encoding="utf-8")
    return lock


def test_settings_are_not_compared_with_the_catalogue_of_other_data(project):
    """A catalogue without composed queries, for a plan that needs them: other data, or their table, may bring some."""
    lock = catalogued(project, "data/raw/mine")
    (project / "data/work/catalogue").mkdir(parents=True)
    counts = '{"products": 10, "queries": 5, "classes": 3, "composed": {}}'
    (project / "data/work/catalogue/counts.json").write_text(counts, encoding="utf-8")
    apply_overrides(project / "params.yaml", ["plan.composed=[sum]", "features.trunk.at=pooled"])

    def levels():
        return [(one.finding.level, one.finding.message) for one in run_checks(project) if one.check == "params"]

    assert levels()[0][0] == "problem" and "the catalogue has none" in levels()[0][1]
    fits = [("ok", "params.yaml: every key is known, every value fits; these data have no catalogue yet")]
    (project / "data/raw/mine.dvc").write_text(f"outs:\n- md5: {2:032x}.dir\n  path: mine\n", encoding="utf-8")
    assert levels() == fits
    catalogued(project, "data/raw/mine")
    apply_overrides(project / "params.yaml", ["data.queries=queries.csv"])
    assert levels() == fits
    (project / "dvc.lock").unlink()
    assert levels() == fits
    apply_overrides(project / "params.yaml", ["data.queries=null"])
    (project / "dvc.lock").write_text(lock, encoding="utf-8")
    assert levels()[0][0] == "problem"
    older = yaml.safe_load(lock)
    older["stages"]["catalogue"]["params"]["params.yaml"]["data.of_an_older_version"] = 1
    (project / "dvc.lock").write_text(yaml.safe_dump(older), encoding="utf-8")
    assert levels() == fits
    (project / "dvc.lock").write_text(lock, encoding="utf-8")
    (project / "data/raw/mine.dvc").write_text("outs:\n- md5: 1\n", encoding="utf-8")  # cut: it has no path
    assert levels() == fits


def test_predictions_that_cannot_be_fused_are_a_problem_of_params(project):
    lock = yaml.safe_load(catalogued(project, "data/raw/mine"))
    lock["stages"]["folds"] = {"cmd": "python -m stages.folds", "params": {"params.yaml": {"split.seed": 7}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    for folder in ("data/work/catalogue", "data/work/folds", "data/predictions/mine/other"):
        (project / folder).mkdir(parents=True)
    counts = '{"products": 2, "queries": 2, "classes": 2, "composed": {}}'
    (project / "data/work/catalogue/counts.json").write_text(counts, encoding="utf-8")
    ids = {"product_id": ["a", "b"]}
    pl.DataFrame(ids | {"label": ["cup", "hat"]}).write_parquet(project / "data/work/catalogue/products.parquet")
    places = ids | {"split": ["train"] * 2, "fold": [0, 1]}
    pl.DataFrame(places).write_parquet(project / "data/work/folds/folds.parquet")

    def finding():
        (found,) = [one.finding for one in run_checks(project) if one.check == "params"]
        return found

    assert finding().level == "ok"
    apply_overrides(project / "params.yaml", ["ensemble.fuse_with=data/predictions/mine"])
    line = "data/predictions/mine/other/probabilities.parquet: no such file; `vitrine keep-predictions` writes"
    assert finding().level == "problem" and finding().message.startswith(line)
    apply_overrides(project / "params.yaml", ["split.seed=8"])  # other folds may be those of the predictions
    assert finding().level == "ok"


def test_data_that_changed_without_dvc_are_noticed_by_their_files_and_bytes(project):
    """Edited, added or removed files, whether the folder is tracked or not; what .dvcignore names does not count."""
    catalogued(project, "data/raw/mine")
    data, counts = project / "data/raw/mine", project / "data/work/catalogue/counts.json"
    (data / "images").mkdir()
    (data / "images/a.jpg").write_bytes(b"12345")
    (data / "t.csv").write_text("id\n", encoding="utf-8")
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))
    lock["stages"]["catalogue"]["deps"][0] |= {"nfiles": 2, "size": 8}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    (project / ".dvcignore").write_text("# never hashed\n.gitignore\n*.pyc\n__pycache__/\n", encoding="utf-8")
    counts.parent.mkdir(parents=True)
    counts.write_text('{"products": 10, "queries": 0, "classes": 3, "composed": {}}', encoding="utf-8")

    def compared():
        (found,) = [one.finding for one in run_checks(project) if one.check == "params"]
        assert (found.level == "problem") == ("the catalogue has no text" in found.message)
        return found.level == "problem"

    assert compared()
    for name in (".gitignore", "images/x.pyc"):
        (data / name).touch()
    for name in ("__pycache__", ".git", ".hg", ".dvc"):  # DVC never hashes the last three, of a cloned data set
        (data / name).mkdir()
        (data / name / "y").write_text("cached", encoding="utf-8")
    assert compared()
    (project / "data/raw/mine.dvc").unlink()
    assert compared()
    (data / "t.csv").write_text("id,text\n", encoding="utf-8")
    assert not compared()
    (data / "t.csv").write_text("id\n", encoding="utf-8")
    (data / "images/b.jpg").touch()
    assert not compared()
    (data / "images/b.jpg").unlink()
    assert compared()
    listed = (project / ".dvcignore").read_text(encoding="utf-8")
    (data / "notes").mkdir()
    (data / "notes/b.txt").write_text("x", encoding="utf-8")
    assert not compared()
    for line in ("data/raw/mine/notes", "/data/raw/mine/notes/", "**/notes/"):  # DVC has not counted these files
        (project / ".dvcignore").write_text(f"{listed}{line}\n", encoding="utf-8")
        assert compared()
    (project / ".dvcignore").write_text(listed, encoding="utf-8")
    (data / "notes/b.txt").unlink()
    assert compared()
    made = {"cmd": "x", "outs": [{"path": "../raw/mine", "md5": f"{1:032x}.dir"}]}
    for number, same in ((1, True), (2, False)):
        made["outs"][0]["md5"] = f"{number:032x}.dir"
        lock = yaml.safe_dump({"schema": "2.0", "stages": {"products": made}})
        (project / "data/sample/dvc.lock").write_text(lock, encoding="utf-8")
        assert compared() == same


def test_a_key_that_is_missing_is_the_finding_of_params_alone(project):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text.replace("\nindex:", "\nindexes:"), encoding="utf-8")
    (project / "dvc.yaml").write_text("stages: [catalogue]\n", encoding="utf-8")
    found = {one.check: one.finding for one in run_checks(project)}
    assert found["params"].level == found["dvc files"].level == "problem" and "index" in found["params"].message
    assert found["disk"].message == "not checked before params.yaml is mended"
    (project / "params.yaml").write_text(text, encoding="utf-8")
    found = {one.check: one.finding for one in run_checks(project)}
    assert found["params"].level == "ok" and found["disk"].message.startswith("dvc.yaml: incomplete: ")

"""`vitrine doctor` on real projects that are broken in one place, and whether what it advises heals them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from quick_dvc import run_dvc
from safetensors.numpy import save_file
from typer.testing import CliRunner

from pipeline_lib.cli.main import app
from pipeline_lib.experiments.doctor.checks import run_checks
from pipeline_lib.experiments.doctor.disk import read_disk
from pipeline_lib.experiments.doctor.dvc_state import (
    dvc_file_fault,
    judge_lock_files,
    judge_lost,
    read_lost,
    read_rwlock,
)
from pipeline_lib.experiments.doctor.project import read_weights, safetensors_fault
from pipeline_lib.params.section import load_params

# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

ROOT = Path(__file__).parents[3]
PIPELINE = """
stages:
  first:
    cmd: echo first >> ran.txt; cp data.txt first.txt
    deps: [data.txt]
    outs: [first.txt]
  second:
    cmd: echo second >> ran.txt; cp first.txt second.txt
    deps: [first.txt]
    outs: [second.txt]
"""


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


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    if command[0] == "dvc":
        return run_dvc(folder, *command[1:], check=check)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, check=check, capture_output=True, text=True
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    for name, text in (("dvc.yaml", PIPELINE), ("data.txt", "data")):
        (root / name).write_text(text, encoding="utf-8")
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "dvc", "init", "--quiet")
    run(root, "dvc", "repro", "--quiet")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "built")
    return root


@pytest.mark.parametrize("cut", [0, 40, 150, 260])
def test_a_cut_lock_file_is_found_and_what_is_advised_heals_it(built, cut):
    """DVC refuses to work, `dvc commit` too; neither advice runs a stage again."""
    lock = built / "dvc.lock"
    sound, ran = lock.read_bytes(), (built / "ran.txt").read_bytes()
    assert dvc_file_fault(lock) is None
    lock.write_bytes(sound[:cut])
    try:
        finding = judge_lock_files({"dvc.lock": dvc_file_fault(lock)})[0]
        assert finding.level == "problem"
        if "is no hash" not in finding.message:
            assert run(built, "dvc", "commit", "--force", check=False).returncode != 0
        first, second = finding.action.split("; or ")
        for advice in (first.partition(":")[0], second.partition(",")[0]):
            lock.write_bytes(sound[:cut])
            run(built, "bash", "-c", advice)
            assert lock.read_bytes() == sound and (built / "ran.txt").read_bytes() == ran
    finally:
        lock.write_bytes(sound)


def test_a_lock_file_cut_anywhere_is_damaged_or_lacks_entries_alone(tmp_path, built):
    """A cut between entries is no damage: DVC takes what they are about as not yet run, and restores it."""
    sound = (built / "dvc.lock").read_bytes()
    hashes = set(re.findall("md5: ([0-9a-f]{32})\n", sound.decode()))
    harmless = 0
    for size in range(len(sound)):
        (tmp_path / "dvc.lock").write_bytes(sound[:size])
        if dvc_file_fault(tmp_path / "dvc.lock") is None:
            harmless += 1
            assert set(re.findall("md5: (.*)", sound[:size].decode())) <= hashes
    assert 0 < harmless < len(sound) / 2


def test_a_stage_that_lost_its_entry_is_named(built):
    lock = built / "dvc.lock"
    sound = lock.read_bytes()
    lock.write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    (built / "second.txt").rename(built / "gone.txt")
    try:
        level, message = next((one.level, one.message) for one in judge_lost(read_lost(built, {})))
        assert level == "note" and "first" in message and "second" not in message
        (built / "gone.txt").rename(built / "second.txt")
        run(built, "dvc", "repro")
        assert lock.read_bytes() == sound and judge_lost(read_lost(built, {})) == []
    finally:
        lock.write_bytes(sound)


def test_outs_of_other_stages_in_a_shared_folder_are_no_lost_entry(tmp_path):
    """A teacher's features lie beside those of the towers, and a phase's models beside the marker of no phase."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  features:\n    cmd: a\n    outs: ['work/${item.name}']\n  teacher:\n    matrix: {name: []}\n"
        "    cmd: b\n    outs: ['work/${item.name}']\n  phase:\n    cmd: c\n    outs: ['phases/${item.a}/${item.b}']\n",
        encoding="utf-8",
    )
    lock = "schema: '2.0'\nstages:\n"
    for name, out in (("features@trunk", "work/trunk"), ("folds", "phases/none")):
        lock += f"  {name}:\n    cmd: a\n    outs:\n    - path: {out}\n      md5: {'a' * 32}\n      size: 1\n"
    (tmp_path / "dvc.lock").write_text(lock, encoding="utf-8")
    for folder in ("work/trunk", "phases/none"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    (tmp_path / "work/.gitkeep").touch()
    assert read_lost(tmp_path, {}) == []
    (tmp_path / "work/mine").mkdir()
    assert read_lost(tmp_path, {}) == ["teacher"]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "damaged"),
        ('{"write": {"/x": {"pi', "damaged"),
        ("[]", "damaged"),
        ('{"read": {}, "write": {}}', "sound"),
        ('{"write": {"/x": {"pid": 999999999, "cmd": "dvc repro"}}, "read": {}}', "sound"),
    ],
)
def test_the_list_of_locks_is_damaged_or_sound(tmp_path, text, state):
    (tmp_path / "rwlock").write_text(text, encoding="utf-8")
    assert read_rwlock(tmp_path / "rwlock") == (state, [])
    assert read_rwlock(tmp_path / "none") == (None, [])


def test_a_running_dvc_is_named(tmp_path):
    info = {"pid": os.getpid(), "cmd": "dvc repro train"}
    (tmp_path / "rwlock").write_text(json.dumps({"read": {"/y": [info]}, "write": {"/x": info}}), encoding="utf-8")
    assert read_rwlock(tmp_path / "rwlock") == ("sound", ["dvc repro train"])


@pytest.fixture
def project(tmp_path) -> Path:
    """The project's own files, with small weights, and no run."""
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    (tmp_path / "data/predictions/none").mkdir(parents=True)
    (tmp_path / "data/splits/none").mkdir(parents=True)
    (tmp_path / "data/starts/none").mkdir(parents=True)
    (tmp_path / "data/sample").mkdir()
    shutil.copy(ROOT / "data/sample/dvc.yaml", tmp_path / "data/sample")
    run(tmp_path, "git", "init", "-q", "-b", "main")
    return tmp_path


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
    run(project, "dvc", "config", "--quiet", "cache.type", "copy")
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

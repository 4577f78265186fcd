"""`vitrine plan` says how many products, queries and photos of a real catalogue each stage reads."""

import json
from pathlib import Path

import pytest
from PIL import Image
from quick_dvc import run_dvc
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline_lib.artifacts import paths
from pipeline_lib.cli.main import app
from pipeline_lib.experiments.next_run.rows import READ_FROM, catalogue_rows, rows_read
from stages import catalogue

REPO = Path(__file__).parents[3]
PIPELINE = YAML(typ="safe").load((REPO / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Four products, two of which share a text; the first has two photos, the last has none and is rejected."""
    yaml = YAML()
    params = yaml.load((REPO / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"root": "raw", "max_reject_fraction": 0.9}
    params["runtime"]["workers"] = 1
    yaml.dump(params, tmp_path / "params.yaml")
    (tmp_path / "raw/images").mkdir(parents=True)
    for number, name in enumerate(("1", "1_2", "2", "3")):
        picture = Image.radial_gradient("L").rotate(40 * number).convert("RGB").resize((60, 60 + 9 * number))
        picture.save(tmp_path / "raw/images" / f"{name}.jpg")
    table = "id,title,label,images\n1,a mug,a,1.jpg;1_2.jpg\n2,a hat,b,2.jpg\n3,a hat,b,3.jpg\n4,a lamp,a,4.jpg\n"
    (tmp_path / "raw/table.csv").write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    catalogue.main()
    return tmp_path


def test_each_stage_has_the_rows_of_what_it_reads(project, capsys):
    capsys.readouterr()
    counted = json.loads((paths.CATALOGUE / "counts.json").read_text(encoding="utf-8"))
    expected = {"products": 3, "queries": 2, "photos": 4}
    assert catalogue_rows(project) == expected and (counted["products"], counted["queries"]) == (3, 2)
    stages = "stages:\n"
    for name, dep in (("folds", paths.CATALOGUE), ("shards", paths.CATALOGUE / "media.parquet"), ("other", "raw")):
        stages += f"  {name}:\n    cmd: touch {name}.txt\n    deps: [{dep}]\n    outs: [{name}.txt]\n"
    Path("dvc.yaml").write_text(stages, encoding="utf-8")
    run_dvc(project, "init", "--no-scm", "--quiet")
    result = CliRunner().invoke(app, ["plan"], catch_exceptions=False)
    assert result.stdout.splitlines()[0] == "catalogue of now: 3 products, 2 queries, 4 photos"
    rows = {line.split("\t")[0]: line.split("\t")[3] for line in result.stdout.splitlines()[1:]}
    assert rows == {"folds": "3 products, 2 queries", "shards": "4 photos", "other": ""}
    document = json.loads(CliRunner().invoke(app, ["plan", "--json"], catch_exceptions=False).stdout)
    assert document["rows"] == expected
    by_stage = {stage["stage"]: stage["rows"] for stage in document["stages"]}
    assert by_stage == {"folds": {"products": 3, "queries": 2}, "shards": {"photos": 4}, "other": {}}


def test_the_files_that_are_counted_are_deps_of_the_pipeline():
    rows = dict.fromkeys(READ_FROM, 1)
    found = {name: set(rows_read(stage["deps"], rows)) for name, stage in PIPELINE.items()}
    assert found["train"] == {"products", "queries", "photos"} and found["views"] == {"photos"}
    assert found["shards"] == {"photos"} and found["evaluate"] == {"products", "queries"}
    assert found["code"] == found["catalogue"] == found["index"] == set()
    deps = {dep for stage in PIPELINE.values() for dep in stage["deps"]}
    assert {file.as_posix() for files in READ_FROM.values() for file in files} <= deps


def test_a_project_without_a_catalogue_has_no_rows(tmp_path):
    assert catalogue_rows(tmp_path) == {} == rows_read(["data/work/shards"], {})

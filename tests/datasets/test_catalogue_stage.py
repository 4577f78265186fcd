import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from ruamel.yaml import YAML

REPO = Path(__file__).parents[2]


def run(module, project):
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    return subprocess.run([sys.executable, "-m", module], cwd=project, env=environment, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path):
    """A project of its own: params and 24 products in two classes, one of them without an image."""
    yaml = YAML()
    params = yaml.load((REPO / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["root"] = "raw"
    params["runtime"]["workers"] = 1
    yaml.dump(params, tmp_path / "params.yaml")
    images = tmp_path / "raw/images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(23):
        picture = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((60, 60))
        picture.save(images / f"{number}.jpg")
    rows = "".join(f"{number},thing {number},{'ab'[number % 2]}\n" for number in range(24))
    (tmp_path / "raw/table.csv").write_text("id,title,label\n" + rows, encoding="utf-8")
    return tmp_path


def test_catalogue_and_folds_run_and_are_byte_stable(project):
    first = {}
    for _ in range(2):
        done = run("stages.catalogue", project)
        assert done.returncode == 0, done.stderr
        assert "23 products, 23 photos, 2 classes, 23 queries, 1 rejected\n  missing image: 1 (rejected)" in done.stdout
        dealt = run("stages.folds", project)
        assert dealt.returncode == 0, dealt.stderr
        made = {path.name: path.read_bytes() for path in (project / "data/work").rglob("*") if path.is_file()}
        assert first in ({}, made)
        first = made
    assert {"folds.parquet", "table.csv", "notes.json", "media.parquet", "counts.json"} <= set(first)
    folds = pl.read_parquet(project / "data/work/folds/folds.parquet")
    assert dict(folds.schema) == {"product_id": pl.String, "split": pl.String, "fold": pl.Int64}
    assert folds["fold"].drop_nulls().unique().sort().to_list() == [0, 1, 2]


def test_too_many_rejects_are_one_line_and_leave_the_last_catalogue_alone(project):
    assert run("stages.catalogue", project).returncode == 0
    before = (project / "data/work/catalogue/products.parquet").read_bytes()
    for number in range(10):
        (project / f"raw/images/{number}.jpg").write_text("gone wrong")
    done = run("stages.catalogue", project)
    assert done.returncode == 1
    assert done.stderr.startswith("stages.catalogue: error: table.csv: 11 of 24 rows rejected")
    assert len(done.stderr.splitlines()) == 1
    assert (project / "data/work/catalogue/products.parquet").read_bytes() == before


def test_a_fold_that_was_not_made_is_one_line(project):
    assert run("stages.catalogue", project).returncode == 0
    params = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(params.replace("num_folds: 3", "num_folds: 2"), encoding="utf-8")
    done = run("stages.folds", project)
    assert done.returncode == 1
    assert done.stderr.startswith("stages.folds: error: params.yaml: plan.folds lists 2, but the folds are 0, 1;")
    assert not (project / "data/work/folds").exists()


def test_a_sample_submission_must_ask_for_exactly_the_test_products(project):
    """Before anything is trained, not after."""
    table = "".join(f"{n},thing {n},{'ab'[n % 2]},{'test' if n > 19 else 'train'}\n" for n in range(24))
    (project / "raw/table.csv").write_text("id,title,label,split\n" + table, encoding="utf-8")
    yaml = YAML()
    params = yaml.load((project / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"table": "table.csv", "sample_submission": "sample.csv"}
    yaml.dump(params, project / "params.yaml")
    (project / "raw/sample.csv").write_text("id,target\n22,a\n20,a\n21,a\n", encoding="utf-8")
    assert run("stages.catalogue", project).returncode == 0
    kept = project / "data/work/catalogue/sample_submission.csv"
    assert kept.read_text(encoding="utf-8") == "id,target\n22,a\n20,a\n21,a\n"
    assert run("stages.folds", project).returncode == 0
    # The product without an image was rejected: nobody can predict it.
    kept.write_text("id,target\n22,a\n20,a\n23,a\n", encoding="utf-8")
    done = run("stages.folds", project)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "has 3 ids, the test split has 3: 1 of its ids are not test products" in done.stderr
    assert "the first '23'; 1 test products are not in it, the first '21'" in done.stderr

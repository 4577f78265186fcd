"""The stages catalogue and folds: byte-stable outs, and one line for a fault."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn_files import rgb_profile
from PIL import Image
from ruamel.yaml import YAML

from stages import catalogue, folds

REPO = Path(__file__).parents[2]


@pytest.fixture
def run(project, monkeypatch, capsys):
    """Run a stage in this process, as its command would in a process of its own."""
    monkeypatch.chdir(project)

    def run_stage(stage):
        capsys.readouterr()
        try:
            stage.main()
            status = 0
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(stage.__name__, status, printed.out, printed.err)

    return run_stage


@pytest.fixture
def project(tmp_path):
    """A folder with params and 24 products in two classes, one of them without an image."""
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


def read_outs(project):
    return {path.name: path.read_bytes() for path in (project / "data/work").rglob("*") if path.is_file()}


def test_folds_that_the_table_does_not_give_are_refused_before_the_next_stage(project, run):
    places = ["val"] * 4 + ["train"] * 19
    rows = "".join(f"{number},thing {number},{'ab'[number % 2]},{place}\n" for number, place in enumerate(places))
    (project / "raw/table.csv").write_text("id,title,label,split\n" + rows, encoding="utf-8")
    done = run(catalogue)
    assert done.returncode == 1 and "plan.folds lists 1, but the folds are 0, by the table's" in done.stderr
    assert not (project / "data/work/catalogue").exists()


def test_catalogue_and_folds_run_and_are_byte_stable(project, run):
    """The second run is a process with another hash seed."""
    done = run(catalogue)
    assert done.returncode == 0, done.stderr
    assert "23 products, 23 photos, 2 classes, 23 queries, 1 rejected\n" in done.stdout
    assert "  columns: id = id; label = label; text = title\n  missing image: 1 (rejected)\n" in done.stdout
    done = run(folds)
    assert done.returncode == 0, done.stderr
    first = read_outs(project)
    command = [sys.executable, "-c", "from stages import catalogue, folds; catalogue.main(); folds.main()"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(REPO), "PYTHONHASHSEED": "1"}, check=True)
    assert read_outs(project) == first
    assert {"folds.parquet", "table.csv", "notes.json", "media.parquet", "counts.json"} <= set(first)
    table = pl.read_parquet(project / "data/work/folds/folds.parquet")
    assert dict(table.schema) == {"product_id": pl.String, "split": pl.String, "fold": pl.Int64}
    assert table["fold"].drop_nulls().unique().sort().to_list() == [0, 1, 2]


def test_a_linked_folder_of_photos_is_read_and_noted(project, run):
    (project / ".dvc").mkdir()
    (project / "raw/images").rename(project / "pictures")
    (project / "raw/images").symlink_to("../pictures")
    done = run(catalogue)
    assert done.returncode == 0 and "23 products, 23 photos" in done.stdout
    note = "images is a link to a folder, and DVC does not look into it: after a change there `dvc repro -f catalogue`"
    assert f"  note: {note}\n" in done.stdout


def test_too_many_rejects_are_one_line_and_do_not_change_the_previous_catalogue(project, run):
    assert run(catalogue).returncode == 0
    before = (project / "data/work/catalogue/products.parquet").read_bytes()
    for number in range(10):
        (project / f"raw/images/{number}.jpg").write_text("gone wrong")
    done = run(catalogue)
    assert done.returncode == 1
    assert done.stderr.startswith("stages.catalogue: error: table.csv: 11 of 24 rows rejected")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.endswith(". logs/rejects.csv lists all of them\n")
    rejects = pl.read_csv(project / "logs/rejects.csv")
    assert rejects["row"].to_list() == [*range(2, 12), 25] and set(rejects["action"]) == {"rejected"}
    assert (project / "data/work/catalogue/products.parquet").read_bytes() == before


def test_rejects_that_a_spreadsheet_would_run_are_noted(project, run):
    table = project / "raw/table.csv"
    table.write_text(table.read_text(encoding="utf-8") + "=1+1,a,b\n" * 9, encoding="utf-8")
    done = run(catalogue)
    assert done.returncode == 1 and "10 of 33 rows rejected" in done.stderr
    assert re.search(r"logs/rejects\.csv: \d\d cells begin with =, .* '=1\+1'; a spreadsheet would run", done.stdout)
    assert pl.read_csv(project / "logs/rejects.csv")["product_id"].to_list().count("=1+1") == 9


def test_a_planned_fold_that_does_not_exist_is_one_line(project, run):
    assert run(catalogue).returncode == 0
    params = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(params.replace("num_folds: 3", "num_folds: 2"), encoding="utf-8")
    done = run(folds)
    assert done.returncode == 1
    message = "params.yaml: plan.folds has 2, but split.num_folds gives folds 0 .. 1"
    assert done.stderr.startswith(f"stages.folds: error: {message}")
    assert not (project / "data/work/folds").exists()


def test_a_sample_submission_must_list_exactly_the_test_products(project, run):
    """The folds stage checks it, before anything is trained."""
    table = "".join(f"{n},thing {n},{'ab'[n % 2]},{'test' if n > 19 else 'train'}\n" for n in range(24))
    (project / "raw/table.csv").write_text("id,title,label,split\n" + table, encoding="utf-8")
    yaml = YAML()
    params = yaml.load((project / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"table": "table.csv", "sample_submission": "sample.csv"}
    yaml.dump(params, project / "params.yaml")
    (project / "raw/sample.csv").write_text("id,target\n22,a\n20,a\n21,a\n", encoding="utf-8")
    assert run(catalogue).returncode == 0
    sample = project / "data/work/catalogue/sample_submission.csv"
    assert sample.read_text(encoding="utf-8") == "id,target\n22,a\n20,a\n21,a\n"
    assert run(folds).returncode == 0
    # The product without an image was rejected, so no model can predict it.
    sample.write_text("id,target\n22,a\n20,a\n23,a\n", encoding="utf-8")
    done = run(folds)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "has 3 ids, the test split has 3: 1 of its ids are not test products" in done.stderr
    assert "the first '23'; 1 test products are not in it, the first '21'" in done.stderr


def test_composed_queries_of_a_table_pass_the_stages_and_stay_in_one_fold(project, run):
    """Chains of four products: a reference and its target are in one fold, the counts are printed and written."""
    yaml = YAML()
    params = yaml.load((project / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"table": "table.csv", "queries": "queries.csv"}
    yaml.dump(params, project / "params.yaml")
    rows = [f"q{n},{n},in red,{n + 1},zh\n" for n in range(22) if n % 4 != 3]
    rows += ["bad,3,,4,\n", "gone,22,in blue,23,\n"]  # product 23 has no image
    (project / "raw/queries.csv").write_text("query_id,reference_id,text,target_id,slice\n" + "".join(rows))
    done = run(catalogue)
    assert done.returncode == 0, done.stderr
    assert "  composed queries: 17, 2 dropped; 1 candidates have no photo\n" in done.stdout
    assert "  empty caption: 1 (query dropped)\n  its targets were rejected: 1 (query dropped)\n" in done.stdout
    done = run(folds)
    assert done.returncode == 0, done.stderr
    work = project / "data/work"
    assert json.loads((work / "folds/groups.json").read_text())["composed_straddling"] == 0
    table = pl.read_parquet(work / "folds/folds.parquet").with_columns(chain=pl.col("product_id").cast(pl.Int64) // 4)
    assert table.group_by("chain").agg(pl.struct("split", "fold").n_unique())["split"].to_list() == [1] * 6
    slices = pl.read_parquet(work / "catalogue/query_slices.parquet")
    assert slices.height == 17 and set(slices["slice"]) == {"zh"}


@pytest.mark.parametrize(("setting", "same"), [("convert", 1), ("ignore", 2)])
def test_photos_are_compared_in_the_colours_that_the_shards_will_have(setting, same, project, run):
    """Two photos of equal numbers, one with a profile that moves its colours by up to 67 levels."""
    params = (project / "params.yaml").read_text(encoding="utf-8")
    assert "colour_profile: convert" in params
    (project / "params.yaml").write_text(
        params.replace("colour_profile: convert", f"colour_profile: {setting}"), "utf-8"
    )
    picture = Image.open(project / "raw/images/0.jpg")
    picture.save(project / "raw/images/0.jpg", quality=95, icc_profile=rgb_profile("Adobe RGB"))
    picture.save(project / "raw/images/1.jpg", quality=95)
    done = run(catalogue)
    assert done.returncode == 0, done.stderr
    groups = pl.read_parquet(project / "data/work/catalogue/products.parquet")["group_id"]
    assert groups.value_counts()["count"].max() == same


def test_losses_without_classes_or_texts_stop_the_catalogue_itself(project, run):
    """No later stage is needed to find it, and the catalogue on disk stays that of other settings."""
    table = (project / "raw/table.csv").read_text(encoding="utf-8")
    (project / "raw/table.csv").write_text(
        "".join(f"{line.rsplit(',', 1)[0]}\n" for line in table.splitlines()), "utf-8"
    )
    done = run(catalogue)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    message = "losses.cross_entropy needs classes to tell apart, but the catalogue has 0"
    assert done.stderr.startswith(f"stages.catalogue: error: params.yaml: {message}")
    assert not (project / "data/work/catalogue").exists()

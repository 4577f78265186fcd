"""`vitrine recipe list` and `show`: lines for scripts, JSON with a fixed structure."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline_lib.experiments.recipes.pending import PENDING
from pipeline_lib.experiments.recipes.schema import profile_names, recipe_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)


def test_list_is_one_recipe_a_line_the_profiles_first(vitrine):
    rows = [line.split("\t") for line in vitrine("recipe", "list").stdout.splitlines()]
    assert [row[0] for row in rows] == [*recipe_names(), *PENDING]
    assert all(len(row) == 3 for row in rows)
    assert [row[2] for row in rows[:4]] == ["profile"] * 4
    figures = "R@1 0.0749, R@5 0.241, R@10 0.3506, MeanRecall 0.2222"
    assert [row[2] for row in rows if row[0] == "a05-unfreeze8"] == [figures]
    assert sum(row[1].startswith("not yet: ") for row in rows) == len(PENDING)


def test_list_as_json(vitrine):
    document = json.loads(vitrine("recipe", "list", "--json").stdout)
    assert document.keys() == {"recipes", "pending"}
    assert [recipe["name"] for recipe in document["recipes"]] == recipe_names()
    assert {tuple(recipe) for recipe in document["recipes"]} == {("name", "about", "log", "row", "reported")}
    assert {recipe["name"] for recipe in document["recipes"] if recipe["log"] is None} == set(profile_names())
    by_name = {recipe["name"]: recipe for recipe in document["recipes"]}
    assert (by_name["a16"]["log"], by_name["a16"]["row"]) == ("A", "a16-IMAGE-TEXT")
    assert by_name["b04-cnn"]["reported"] == "did not converge"
    assert by_name["a08-llrd"]["reported"]["R@1"] == 0.0861
    assert document["pending"] == [{"name": name, "reason": reason} for name, reason in PENDING.items()]


def test_show_prints_the_changes_and_where_the_name_contradicts_the_settings(vitrine):
    path = Path("recipes/a05-unfreeze8.yaml")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("unfreeze_layers: 9", "unfreeze_layers: 5"), encoding="utf-8")
    shown = vitrine("recipe", "show", "a05-unfreeze8")
    lines = shown.stdout.splitlines()
    assert lines[1] == "log A, row a05-unfreeze8; reported: R@1 0.0749, R@5 0.241, R@10 0.3506, MeanRecall 0.2222"
    assert any(line.startswith("note (muge): The log names neither tower") for line in lines)
    assert "train.towers.text.unfreeze_layers\tnull\t5" in lines
    warning = "the name says unfreeze8, but 4 text layers and the pooling after them are trained"
    assert shown.stderr == f"warning: {warning}\n"
    assert json.loads(vitrine("recipe", "show", "a05-unfreeze8", "--json").stdout)["warnings"] == [warning]
    assert vitrine("recipe", "show", "a05-unfreeze4").stderr == ""
    assert "train.augment\tnone\tnone | jitter_flip | grayscale_blur" in vitrine("recipe", "show", "a16").stdout


def test_show_as_json(vitrine):
    document = json.loads(vitrine("recipe", "show", "a06-image2", "--json").stdout)
    assert list(document) == [
        "name", "about", "log", "row", "reported", "starts_from", "distilled_from", "published_teachers", "notes",
        "experiments", "warnings",
    ]  # fmt: skip
    assert document["notes"][0]["file"] == "a06-image2"
    assert [cell["name"] for cell in document["experiments"]] == ["a06-image2-3", "a06-image2-5"]
    epochs = [
        [change for change in cell["changes"] if change["key"] == "train.epochs"] for cell in document["experiments"]
    ]
    assert epochs == [[{"key": "train.epochs", "old": 9, "new": 3}], [{"key": "train.epochs", "old": 9, "new": 5}]]
    added = json.loads(vitrine("recipe", "show", "d04-3stage", "--json").stdout)["experiments"][0]["changes"]
    assert {"key": "model.image.args.drop_path_rate", "new": 0.1} in added


@pytest.mark.parametrize("name", ["quick", "accurate", "classify", "frozen"])
def test_a_profile_is_applied_by_its_name(vitrine, name):
    before = Path("params.yaml").read_text(encoding="utf-8")
    assert "settings changed; `dvc repro` runs it" in vitrine("recipe", "apply", name).stdout
    assert Path("params.yaml").read_text(encoding="utf-8") != before
    with pytest.raises(ValueError, match="changes nothing"):
        vitrine("recipe", "apply", name)

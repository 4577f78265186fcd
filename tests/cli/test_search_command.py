"""`vitrine search`: what is refused before the model is loaded."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from pipeline_lib.artifacts import paths
from pipeline_lib.catalogue.schema import REJECTED
from pipeline_lib.cli import composed_search, fold_search
from pipeline_lib.cli.fold_search import FoundProduct
from pipeline_lib.cli.main import app

ROOT = Path(__file__).parents[2]

runner = CliRunner()


@pytest.mark.parametrize("query", ["", "   ", "\u200b\u00a0", "\ud83d"])
def test_a_query_without_words_is_one_line(query):
    result = runner.invoke(app, ["search", query])
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith("the query has no words; write what to search for")


def test_the_query_is_cleaned_as_the_texts_were(monkeypatch):
    asked = []
    monkeypatch.setattr(fold_search, "search_fold", lambda *arguments: asked.append(arguments) or [])
    assert runner.invoke(app, ["search", " red\u200b\u00a0 mug ", "--top", "3"]).exit_code == 0
    assert asked == [("red mug", "flat", 0, 3)]


def test_no_products_are_no_search():
    assert "--top" in runner.invoke(app, ["search", "mug", "--top", "0"]).output


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Products in fold 2, in test and in train without a fold, a rejected one, and a plan of two composed models."""
    monkeypatch.chdir(tmp_path)
    for folder in (paths.CATALOGUE, paths.FOLDS):
        folder.mkdir(parents=True)
    ids = ["mug-1", "mug-2", "mug-4"]
    pl.DataFrame({"product_id": ids, "text": ["a mug", None, "cup"]}).write_parquet(
        paths.CATALOGUE / "products.parquet"
    )
    places = {"product_id": ids, "split": ["train", "test", "train"], "fold": [2, None, None]}
    pl.DataFrame(places).write_parquet(paths.FOLDS / "folds.parquet")
    rejects = {"product_id": ["mug-3"], "reason": ["image is truncated"], "action": [REJECTED]}
    pl.DataFrame(rejects).write_parquet(paths.CATALOGUE / "rejects.parquet")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("composed: []", "composed: [combiner, sum]"), encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--like", "mug-1", " "], "the query has no words; .* `vitrine search --like mug-1 "),
        (["--like", "mug-3", "in red"], "product 'mug-3' was rejected: image is truncated; it has no features"),
        (["--like", "mug1", "in red"], "no product 'mug1' in any fold or in test of .*; did you mean 'mug-1'"),
        (["--like", "mug-1", "in red"], "no composed model here; add combiner to plan.composed and 0 to plan.folds"),
        (["--like", "mug-1", "in red", "--kind", "flat"], "--kind flat: .*; choose sum, combiner, q_former"),
        (["--like", "mug-1", "in red", "--kind", "sum", "--fold", "1"], "composed/sum/1: no composed model here"),
    ],
)  # fmt: skip
def test_what_a_search_like_a_product_lacks_is_one_line(arguments, message, catalogue):
    result = runner.invoke(app, ["search", *arguments])
    assert isinstance(result.exception, ValueError)
    assert re.search(message, str(result.exception)) and "\n" not in str(result.exception)


def test_a_plan_without_composed_models_says_so(catalogue):
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("composed: [combiner, sum]", "composed: []"), encoding="utf-8")
    result = runner.invoke(app, ["search", "--like", "mug-1", "in red"])
    assert "no composed model: plan.composed is []; set plan.composed = [sum]" in str(result.exception)


def test_the_json_of_a_search_like_a_product_names_both_parts_of_the_query(catalogue, monkeypatch):
    asked = []
    found = [FoundProduct("mug-2", 0.75, "")]
    monkeypatch.setattr(composed_search, "search_like", lambda *arguments: asked.append(arguments) or found)
    result = runner.invoke(app, ["search", "--like", "mug-1", " in\u00a0red", "--top", "3", "--json"])
    assert json.loads(result.output) == {
        "query": "in red", "like": "mug-1", "model": "combiner", "fold": 0,
        "products": [{"rank": 1, "product_id": "mug-2", "score": 0.75, "text": ""}],
    }  # fmt: skip
    reference = composed_search.Reference("mug-1", "a mug", "train", 2)
    assert asked == [(reference, "in red", "combiner", 0, 3)]


@pytest.mark.parametrize(
    ("product_id", "fold", "note"),
    [
        ("mug-1", 2, None),
        ("mug-1", 0, "mug-1 is in fold 2, which the model of fold 0 was trained on"),
        ("mug-2", 0, None),
        ("mug-4", 2, "mug-4 is in train, which the model of fold 2 was trained on"),
    ],
)
def test_a_product_that_the_model_was_trained_on_is_noted(product_id, fold, note, catalogue):
    assert composed_search.find_reference(product_id).note(fold) == note

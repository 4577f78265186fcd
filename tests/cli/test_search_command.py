"""`vitrine search`: how its options are read, what is refused before a model is loaded, and what is printed."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from pipeline_lib.artifacts import paths
from pipeline_lib.catalogue.schema import REJECTED
from pipeline_lib.cli.main import app
from pipeline_lib.cli.search_options import find_reference, parse_filters
from pipeline_lib.serving import model as served
from pipeline_lib.serving.catalogue import Range, ServedCatalogue
from pipeline_lib.serving.query import Answer, Encoded, Filters, Found

ROOT = Path(__file__).parents[2]

runner = CliRunner()


@pytest.mark.parametrize("query", ["", "   ", "\u200b\u00a0", "\ud83d"])
def test_a_query_without_words_is_one_line(query):
    result = runner.invoke(app, ["search", query])
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith("the query has no words; write what to search for")


def test_no_products_are_no_search():
    for option in ("--top", "-k"):
        assert "--top" in runner.invoke(app, ["search", "mug", option, "0"]).output


def test_filters_are_read_together():
    read = parse_filters(
        ["category=mug", "price=5..20", "category=tea pot", "score=0.3..", "stock=..0", "duplicates=hidden"]
    )
    ranges = (Range("price", 5.0, 20.0), Range("stock", None, 0.0))
    assert read == Filters(("mug", "tea pot"), ranges, 0.3, True)
    assert parse_filters([]) == Filters() and parse_filters(["t=-3..-1"]).ranges == (Range("t", -3.0, -1.0),)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("mug", "--where mug: no such filter; write category=mug, price=5..20"),
        ("=3", "no such filter"),
        ("price=", "no such filter"),
        ("price=5", "--where price=5: not a range; write price=5..20, price=5.. or price=..20"),
        ("price=..", "not a range"),
        ("price=1.2.3..4", "a limit is no number"),
        ("score=..1", "a score has a lower limit alone; write score=0.3.."),
        ("duplicates=no", "write duplicates=hidden"),
    ],
)
def test_a_wrong_filter_is_one_line(where, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_filters([where])


@pytest.mark.parametrize("where", ["colour=red", "colour=5..20", "text=mug"])
def test_a_column_that_is_no_filter_is_not_taken_for_a_range(where):
    name = where.partition("=")[0]
    line = f"--where {where}: {name} is no filter; filters are category, score, duplicates and numeric columns: price, "
    with pytest.raises(ValueError, match=re.escape(line)):
        parse_filters(["price=5..20", where], ["price", "size"])
    with pytest.raises(ValueError, match=r"and numeric columns: none \(data\.columns\.attributes names them\)"):
        parse_filters([where], [])
    assert parse_filters(["price=5..20"], ["price"]) == parse_filters(["price=5..20"])


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Products in fold 2, in test and in train without a fold, and a rejected one."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    for folder in (paths.CATALOGUE, paths.FOLDS):
        folder.mkdir(parents=True)
    ids = ["mug-1", "mug-2", "mug-4"]
    pl.DataFrame({"product_id": ids}).write_parquet(paths.CATALOGUE / "products.parquet")
    places = {"product_id": ids, "split": ["train", "test", "train"], "fold": [2, None, None]}
    pl.DataFrame(places).write_parquet(paths.FOLDS / "folds.parquet")
    rejects = {"product_id": ["mug-3"], "reason": ["image is truncated"], "action": [REJECTED]}
    pl.DataFrame(rejects).write_parquet(paths.CATALOGUE / "rejects.parquet")


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("mug-3", "product 'mug-3' was rejected: image is truncated; it has no features"),
        ("mug1", "--like mug1: no such product in .*, and no such file of a picture; did you mean 'mug-1'"),
        ("photos/a.jpg", "--like photos/a.jpg: no such product in .*, and no such file of a picture$"),
    ],
)
def test_what_no_product_and_no_picture_is_like_is_one_line(like, message, catalogue):
    result = runner.invoke(app, ["search", "--like", like, "in red"])
    assert isinstance(result.exception, ValueError)
    assert re.search(message, str(result.exception)) and "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("product_id", "fold", "note"),
    [
        ("mug-1", 2, None),
        ("mug-1", 0, "mug-1 is in fold 2, which the model of fold 0 was trained on"),
        ("mug-2", 0, None),
        ("mug-4", 2, "mug-4 is in train, which the model of fold 2 was trained on"),
    ],
)
def test_a_product_that_a_composed_model_was_trained_on_is_noted(product_id, fold, note, catalogue):
    assert find_reference(product_id).note(fold) == note


class FakeModel:
    """Answers every query with the product mug-2, and remembers what it was asked."""

    name = "fold 0"

    def __init__(self):
        none = np.array([-1, -1], np.int32)
        self.catalogue = ServedCatalogue(["mug-1", "mug-2"], ["", "a red\tmug"], [], none, np.arange(2), {})
        self.asked, self.found, self.cut_at = [], [Found(1, 0.75)], None

    def encode(self, query):
        return Encoded(np.zeros((1, 2), np.float32), "composed combiner", True)

    def encode_changed(self, query, texts):
        assert texts == ["in red", "red", "in"]
        return [self.encode(query)] * 3

    def scores(self, encoded, row):
        return [0.75, 0.5, 1.25]

    def answer(self, jobs):
        self.asked += jobs
        return [Answer(self.found, jobs[0].encoded.method if jobs[0].encoded else "text", 2, self.cut_at)]


@pytest.fixture
def model(monkeypatch, catalogue):
    model = FakeModel()
    monkeypatch.setattr(served, "open_served", lambda name, root, fold: model)
    return model


def test_the_query_is_cleaned_as_the_texts_were_and_a_pipe_gets_one_line_a_product(model):
    result = runner.invoke(app, ["search", " red\u200b\u00a0 mug ", "--top", "3", "--where", "score=.5.."])
    assert result.output == "0.750\tmug-2\ta red mug\n"
    (job,) = model.asked
    assert (job.query.text, job.k, job.filters.min_score, job.encoded) == ("red mug", 3, 0.5, None)


def test_the_json_of_a_search_like_a_product_names_both_parts_of_the_query(model):
    result = runner.invoke(app, ["search", "--like", "mug-1", " in\u00a0red", "--json"])
    assert json.loads(result.output) == {
        "query": "in red", "like": "mug-1", "fold": 0, "method": "composed combiner", "searched": 2, "cut_at": None,
        "products": [{"rank": 1, "product_id": "mug-2", "score": 0.75, "text": "a red\tmug", "words": [
            {"word": "in", "change": 0.25}, {"word": "red", "change": -0.5}]}],
    }  # fmt: skip
    assert model.asked[0].query.like == "mug-1" and model.asked[0].encoded.composed


def test_a_result_without_products_says_so(model):
    model.found = []
    result = runner.invoke(app, ["search", "mug", "--where", "category=lamp"])
    assert result.exit_code == 0 and "no product passes the filters" in result.stderr


def test_a_query_that_the_model_cuts_gets_one_line(model):
    model.cut_at = 24
    result = runner.invoke(app, ["search", "mug"])
    assert result.stdout == "0.750\tmug-2\ta red mug\n"
    assert result.stderr == "the model read the first 24 tokens of the query, and no more; shorten it\n"
    assert json.loads(runner.invoke(app, ["search", "mug", "--json"]).stdout)["cut_at"] == 24


def test_the_filters_are_those_of_the_catalogue(model):
    prices = pl.DataFrame({"product_id": ["mug-1"], "price": [5.0]})
    prices.write_parquet(paths.CATALOGUE / "attributes.parquet")
    refused = runner.invoke(app, ["search", "mug", "--where", "colour=red"])
    assert "colour is no filter; filters are category, score, duplicates and numeric columns: price" in str(
        refused.exception
    )
    assert runner.invoke(app, ["search", "mug", "--where", "price=5..20"]).exit_code == 0


def test_a_file_that_is_no_picture_is_one_line(model):
    Path("notes.txt").write_text("no picture", encoding="utf-8")

    class Pictures:
        def view(self, data, max_pixels):
            from pipeline_lib.transforms.formats import BadPhotoError

            raise BadPhotoError("not an image", "text")

    model.pictures, model.max_pixels = Pictures(), 10
    result = runner.invoke(app, ["search", "--like", "notes.txt"])
    assert isinstance(result.exception, ValueError) and str(result.exception).startswith("notes.txt: ")
    assert "give a picture in JPEG, PNG or WebP" in str(result.exception)


def test_a_project_of_composed_models_alone_needs_no_index(catalogue, monkeypatch):
    """As one of CIRR, whose towers get no head: plan.search is empty."""
    params = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(params.replace("  search:\n  - 0\n", "  search: []\n"), encoding="utf-8")
    places = ServedCatalogue(["mug-1", "mug-2"], ["", "cup"], [], np.array([-1, -1], np.int32), np.arange(2), {})
    monkeypatch.setattr("pipeline_lib.serving.composed.find_composed", lambda *arguments: "model")
    asked = []
    answer = (places, Answer([Found(1, 0.5)], "composed sum", 2))
    monkeypatch.setattr(
        "pipeline_lib.serving.composed.composed_answer", lambda *arguments: asked.append(arguments) or answer
    )
    result = runner.invoke(app, ["search", "--like", "mug-1", "in red", "--json"])
    answer = json.loads(result.output)
    assert answer["products"][0]["product_id"] == "mug-2" and answer["method"] == "composed sum"
    assert asked == [("model", "mug-1", "in red", 5)]
    refused = runner.invoke(app, ["search", "--like", "mug-1", "in red", "--where", "price=1.."])
    assert "--where needs an index of all products" in str(refused.exception)

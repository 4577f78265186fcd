"""`vitrine search`: what is refused before the model is loaded."""

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import fold_search
from pipeline_lib.cli.main import app

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

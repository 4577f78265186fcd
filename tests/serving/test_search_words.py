"""`vitrine search --json`: a word counts by the score of a real model with it minus the score without it."""

import contextlib
import json

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli.main import app
from pipeline_lib.serving.words import words_of

QUERY = "red 帽 plain"


@pytest.fixture
def products(served_root):
    def search(*arguments):
        with contextlib.chdir(served_root):
            result = CliRunner().invoke(app, ["search", *arguments, "--json"], catch_exceptions=False)
        return json.loads(result.stdout)["products"]

    return search


def test_a_word_counts_by_how_much_the_score_falls_without_it(products):
    found = products(QUERY, "--top", "3")
    assert [[word["word"] for word in one["words"]] for one in found] == [["red", "帽", "plain"]] * 3
    for number, word in enumerate(words_of(QUERY)):
        without = {one["product_id"]: one["score"] for one in products(word.rest, "--top", "1000")}
        for one in found:
            expected = one["score"] - without[one["product_id"]]
            assert one["words"][number]["change"] == pytest.approx(expected, abs=2e-6)


def test_a_product_and_words_have_words_and_one_word_or_a_product_alone_has_none(products):
    (like,) = products("red", "--top", "1")
    assert like["words"] == [] == products("--like", like["product_id"], "--top", "1")[0]["words"]
    (both,) = products("--like", like["product_id"], "in red", "--top", "1")
    assert [word["word"] for word in both["words"]] == ["in", "red"]

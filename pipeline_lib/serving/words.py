"""The words of a query, words of alphabets and single Han characters, and how much each counts.

A word counts by how much the score falls without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_lib.serving.model import ServedModel
    from pipeline_lib.serving.query import Encoded, Query

# Han and kana are written without spaces.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
# A longer query is explained by its first words only.
MAX_WORDS = 32


class Word(NamedTuple):
    """A word, and the query without it."""

    word: str
    rest: str


class CountedWord(NamedTuple):
    """A word, and how much higher the score is with it."""

    word: str
    change: float


def words_of(text: str) -> list[Word]:
    """Return the words of a query with the rest of the query; empty for one word, which has no rest.

    >>> words_of("red 杯子")
    [Word(word='red', rest='杯子'), Word(word='杯', rest='red 子'), Word(word='子', rest='red 杯')]
    """
    found = list(WORD.finditer(text))
    if len(found) < 2:
        return []
    return [
        Word(match.group(), " ".join(f"{text[: match.start()]}{text[match.end() :]}".split()))
        for match in found[:MAX_WORDS]
    ]


def encode_without_words(model: ServedModel, query: Query) -> list[Encoded]:
    """Return a query as it is, and without each of its words; ValueError as `ServedModel.encode`."""
    return model.encode_changed(query, [query.text, *(word.rest for word in words_of(query.text))])


def count_words(
    model: ServedModel, query: Query, encoded: Sequence[Encoded], row: int
) -> tuple[float, list[CountedWord]]:
    """Return the score of the product in a row, and how much higher it is with each word of the query.

    `encoded` is that of `encode_without_words`. Raises NotSearchedError as `ServedModel.scores`.
    """
    score, *without = model.scores(encoded, row)
    words = words_of(query.text)
    return score, [CountedWord(word.word, score - other) for word, other in zip(words, without, strict=True)]

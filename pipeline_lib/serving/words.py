"""The words of a query, for how much each counts: words of alphabets, and single Han characters."""

import re
from typing import NamedTuple

# Han and kana are written without spaces.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
# A longer query is explained by its first words only.
MAX_WORDS = 32


class Word(NamedTuple):
    """A word, and the query without it."""

    word: str
    rest: str


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

"""Text views: a training text without some of its units, or with units in another order.

A unit is a word in languages that separate words by spaces, and a character in Han text. Units are not tokens of the
tokenizer, so a text has the same view for every tower, which a comparison of towers needs. (Tokenizers of the BERT
family also split Han text into characters.) Latin words and numbers are not split, also inside Han text.
"""

import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np

TextView = Callable[[str, np.random.Generator, float], str]

# The ideographs that BERT's tokenizers split off.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ebef\U0002f800-\U0002fa1f"
UNIT = re.compile(rf"[{HAN}]|[^\s{HAN}]+")
IS_HAN = re.compile(f"[{HAN}]")


def split_units(text: str) -> tuple[list[str], list[str]]:
    """Return the units of a text and the gaps around them (one more than units): gap, unit, gap, ..., unit, gap.

    >>> split_units("red mug 红色iPhone13壳")[0]
    ['red', 'mug', '红', '色', 'iPhone13', '壳']
    """
    units = list(UNIT.finditer(text))
    ends = [0, *(unit.end() for unit in units)]
    starts = [*(unit.start() for unit in units), len(text)]
    return [unit[0] for unit in units], [text[end:start] for end, start in zip(ends, starts, strict=True)]


def word_dropout(text: str, rng: np.random.Generator, rate: float) -> str:
    """Return the text without each unit with probability `rate`, but with at least one unit.

    Source: Iyyer et al., Deep Unordered Composition Rivals Syntactic Methods (ACL 2015).
    """
    units, gaps = split_units(text)
    keep = rng.random(len(units)) >= rate
    if not units or keep.all():
        return text
    if not keep.any():
        keep[rng.integers(len(units))] = True
    rows = np.flatnonzero(keep)
    # A space anywhere between two units separates them if they become neighbours.
    between = [max(gaps[left + 1 : right + 1], key=len) for left, right in pairwise(rows)]
    return _join([units[row] for row in rows], [gaps[0], *between, gaps[-1]])


def random_swap(text: str, rng: np.random.Generator, rate: float) -> str:
    """Return the text after random swaps of two units: `rate` x units swaps, at least one; none if `rate` is 0.

    Source: random swap of EDA, Wei and Zou (arXiv:1901.11196).
    """
    units, gaps = split_units(text)
    if len(units) < 2 or rate == 0:
        return text
    for _ in range(max(1, int(rate * len(units)))):
        one, other = rng.choice(len(units), size=2, replace=False)
        units[one], units[other] = units[other], units[one]
    return _join(units, gaps)


def _join(units: list[str], gaps: list[str]) -> str:
    """Join units and gaps; two words with an empty gap get a space, because together they would be another word."""
    parts = [gaps[0], units[0]]
    for left, gap, right in zip(units, gaps[1:], units[1:], strict=False):
        fused = not gap and not IS_HAN.match(left) and not IS_HAN.match(right)
        parts += [" " if fused else gap, right]
    return "".join([*parts, gaps[-1]])


def _unchanged(text: str, rng: np.random.Generator, rate: float) -> str:
    return text


# name -> function(text, generator, rate) -> text; a view of a non-empty text is not empty
TEXT_VIEWS: dict[str, TextView] = {"none": _unchanged, "word_dropout": word_dropout, "random_swap": random_swap}

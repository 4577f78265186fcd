"""Text views: a training text with some of its units left out, or in another order.

Words are the units of languages that part words by spaces. Chinese does not, so there each Han character is a unit, not
a token of the tokenizer: the tokenizers of the BERT family cut Han text into single characters anyway, so the two
agree there; and the same text gives the same view under every tower, which is what a comparison of towers needs.
Latin words and numbers stay whole, inside Chinese text too.
"""

import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np

TextView = Callable[[str, np.random.Generator, float], str]

# The ideographs that BERT's tokenizers set apart.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ebef\U0002f800-\U0002fa1f"
UNIT = re.compile(rf"[{HAN}]|[^\s{HAN}]+")
IS_HAN = re.compile(f"[{HAN}]")


def split_units(text: str) -> tuple[list[str], list[str]]:
    """Return the units of a text and the gaps around them, one more than units: gap, unit, gap, ..., unit, gap.

    >>> split_units("red mug 红色iPhone13壳")[0]
    ['red', 'mug', '红', '色', 'iPhone13', '壳']
    """
    found = list(UNIT.finditer(text))
    ends = [0, *(unit.end() for unit in found)]
    starts = [*(unit.start() for unit in found), len(text)]
    return [unit[0] for unit in found], [text[end:start] for end, start in zip(ends, starts, strict=True)]


def word_dropout(text: str, rng: np.random.Generator, rate: float) -> str:
    """Return the text without a share `rate` of its units, each left out by its own chance; at least one stays.

    Source: Iyyer et al., Deep Unordered Composition Rivals Syntactic Methods (ACL 2015).
    """
    units, gaps = split_units(text)
    kept = rng.random(len(units)) >= rate
    if not units or kept.all():
        return text
    if not kept.any():
        kept[rng.integers(len(units))] = True
    rows = np.flatnonzero(kept)
    # A space anywhere between two units that become neighbours parts them.
    between = [max(gaps[left + 1 : right + 1], key=len) for left, right in pairwise(rows)]
    return _join([units[row] for row in rows], [gaps[0], *between, gaps[-1]])


def random_swap(text: str, rng: np.random.Generator, rate: float) -> str:
    """Return the text with two units of chance exchanged, `rate` times their number but at least once; 0 is never.

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
    """Put units between their gaps; two words that met over an empty gap get a space, or they would be a new word."""
    parts = [gaps[0], units[0]]
    for left, gap, right in zip(units, gaps[1:], units[1:], strict=False):
        fused = not gap and not IS_HAN.match(left) and not IS_HAN.match(right)
        parts += [" " if fused else gap, right]
    return "".join([*parts, gaps[-1]])


def _unchanged(text: str, rng: np.random.Generator, rate: float) -> str:
    return text


# name -> function(text, generator, rate) -> text; a text that is not empty stays so
TEXT_VIEWS: dict[str, TextView] = {"none": _unchanged, "word_dropout": word_dropout, "random_swap": random_swap}

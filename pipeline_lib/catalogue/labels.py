"""Notes about labels that may be one class written in two ways, or no class at all. Nothing is changed."""

import re
import unicodedata
from collections.abc import Iterable

import polars as pl

# What programs write for a missing value. An empty cell is no label; a text is one.
PLACEHOLDERS = frozenset({"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "undefined", "unknown"})
MAX_SHOWN = 5
# Labels are compared letter by letter only up to this number of classes and from this length on.
MAX_CLASSES = 20_000
MIN_LETTERS = 4
RARE = 0.05  # a misspelling is rarer than the right spelling


def name_notes(labels: pl.Series, groups: pl.Series) -> list[str]:
    """Return notes about the labels and groups of the products: placeholders, and labels that are nearly equal."""
    counts = dict(labels.drop_nulls().value_counts().sort("count", "label", descending=[True, False]).iter_rows())
    sizes = dict(groups.drop_nulls().value_counts().sort("count", "group", descending=[True, False]).iter_rows())
    notes = [
        f"{role} {name!r} is {what} of {number} products; if it means that there is none, leave the cell empty"
        for role, what, numbers in (("label", "a class", counts), ("group", "one group", sizes))
        for name, number in numbers.items()
        if name.casefold() in PLACEHOLDERS
    ]
    written = _pairs(counts, similar_names(counts))
    letters = _pairs(counts, misspelt_names(counts))
    if written:
        notes.append(f"labels that differ only in case, width, spaces or punctuation: {written}")
    if letters:
        notes.append(f"labels that differ in one letter: {letters}")
    return notes


def similar_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of names that are equal but for case, full or half width, spaces and punctuation.

    >>> similar_names(["Mugs", "mugs", "T-Shirt", "T shirt", "Hats"])
    [('Mugs', 'mugs'), ('T-Shirt', 'T shirt')]
    """
    first: dict[str, str] = {}
    pairs = []
    for name in names:
        key = _letters(name)
        if key and first.setdefault(key, name) != name:
            pairs.append((first[key], name))
    return pairs


def misspelt_names(counts: dict[str, int]) -> list[tuple[str, str]]:
    """Return pairs of names one letter apart, the more frequent one first, if the other one is rare beside it.

    A letter may be missing, added, replaced or swapped with its neighbour. Digits are never taken for misspelt.

    >>> misspelt_names({"Lamps": 40, "Lmaps": 1, "Shirts": 60, "Skirts": 50, "Size 10": 40, "Size 11": 1})
    [('Lamps', 'Lmaps')]
    """
    if len(counts) > MAX_CLASSES:
        return []
    # Names one letter apart have a string in common that each becomes without one letter, or that is one of them.
    variants: dict[str, list[str]] = {}
    pairs = set()
    for name in sorted(counts, key=lambda one: (-counts[one], one)):
        key = name.casefold()
        if len(key) < MIN_LETTERS:
            continue
        for variant in {key, *(key[:at] + key[at + 1 :] for at in range(len(key)))}:
            for other in variants.setdefault(variant, []):
                rare = counts[name] <= max(1, RARE * counts[other])
                if rare and _letters(other) != _letters(name) and re.sub(r"\D", "", name) == re.sub(r"\D", "", other):
                    pairs.add((other, name))
            variants[variant].append(name)
    return sorted(pairs)


def _letters(name: str) -> str:
    """Return its letters and digits with the marks on them: vowels of Hindi and Thai are marks, not letters."""
    letters, on_letter = "", False
    for character in unicodedata.normalize("NFKC", name).casefold():
        category = unicodedata.category(character)[0]
        on_letter = category in "LN" or (category == "M" and on_letter)
        letters += character if on_letter else ""
    return letters


def _pairs(counts: dict[str, int], pairs: list[tuple[str, str]]) -> str:
    shown = [f"{one!r} ({counts[one]}) and {other!r} ({counts[other]})" for one, other in pairs[:MAX_SHOWN]]
    return ", ".join(shown) + (f" and {len(pairs) - MAX_SHOWN} more pairs" if len(pairs) > MAX_SHOWN else "")

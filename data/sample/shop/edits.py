"""Writes the sentence of a composed query: what is to change of a product, in either language, in several phrasings.

A sentence names the new value, and often the old one; everything else is to stay. So it says little without the photo.
"""

from typing import NamedTuple

import numpy as np

from shop.words import BUILDS, COLOURS, PATTERNS, Names

LANGUAGES = ("en", "zh")
# Attribute of an item -> the words of its values.
WORDS: dict[str, dict[str, Names]] = {"colour": COLOURS, "pattern": PATTERNS, "second": COLOURS, "build": BUILDS}
SYNONYM = 0.2
# What is printed on a product; a plain one has nothing.
PRINTS: dict[str, Names] = {
    "striped": Names(("stripes",), ("条纹",)),
    "dotted": Names(("dots",), ("圆点",)),
    "checked": Names(("checks",), ("格子",)),
    "zigzag": Names(("zigzags",), ("锯齿纹",)),
}
PRINTED, TO_PLAIN, FROM_PLAIN = "pattern", "pattern to plain", "pattern from plain"
# Kind of a change -> sentences; {old_print} and {new_print} are nouns.
SINGLE: dict[str, Names] = {
    "colour": Names(
        ("the same in {new}", "{new} instead of {old}", "the same model, but {new}", "in {new}, not {old}"),
        ("同款{new}的", "{old}换成{new}", "颜色改成{new}", "要{new}，不要{old}"),
    ),
    PRINTED: Names(
        ("with {new_print} instead of {old_print}", "the same with {new_print}", "the {new} one", "{new}, not {old}"),
        ("{old_print}换成{new_print}", "同款带{new_print}的", "图案改成{new}", "要{new}的，不要{old}"),
    ),
    TO_PLAIN: Names(
        ("the same without {old_print}", "{new} instead of {old}", "the {new} one", "the same with no pattern"),
        ("不要{old_print}，要{new}", "{old_print}换成{new}", "同款{new}的", "去掉{old_print}"),
    ),
    FROM_PLAIN: Names(
        ("the same with {new_print}", "{new} instead of {old}", "the {new} one", "with {new_print} on it"),
        ("同款带{new_print}的", "{old}换成{new}", "加上{new_print}", "要有{new_print}的"),
    ),
    "second": Names(
        ("the same with {new} details", "trimmed in {new}, not {old}", "{new} details instead of {old}"),
        ("同款{new}镶边", "镶边换成{new}", "{old}镶边改成{new}镶边"),
    ),
    "build": Names(
        ("the same, but {new}", "{new} instead of {old}", "the {new} model"),
        ("同款{new}", "{old}换成{new}", "款型改成{new}"),
    ),
}
# Kind of a change -> one of the parts of a sentence that names several.
PARTS: dict[str, Names] = {
    "colour": Names(("in {new}",), ("颜色换成{new}",)),
    PRINTED: Names(("with {new_print}",), ("图案换成{new}",)),
    TO_PLAIN: Names(("without {old_print}",), ("不要{old_print}",)),
    FROM_PLAIN: Names(("with {new_print}",), ("加上{new_print}",)),
    "second": Names(("with {new} details",), ("镶边换成{new}",)),
    "build": Names(("as the {new} model",), ("款型换成{new}",)),
}
JOINED = Names(("the same {}, and {}", "{} and {}", "this one, {} and {}"), ("{}，{}", "同款，{}，{}", "{}并且{}"))
# Attribute -> sentences that leave its new value open.
OPEN: dict[str, Names] = {
    "colour": Names(("the same in another colour", "not in {old}"), ("换个颜色", "同款，不要{old}的")),
    "pattern": Names(("the same with another pattern", "not {old}"), ("换个图案", "同款，图案不要{old}")),
}


class Change(NamedTuple):
    """A changed attribute of an item; `new` is None if any other value will do."""

    attribute: str
    old: str
    new: str | None


def write_sentences(changes: tuple[Change, ...], count: int, rng: np.random.Generator) -> list[str]:
    """Return up to `count` different sentences for one or two changes, the languages in turn, the first at random."""
    order = [LANGUAGES[int(number)] for number in rng.permutation(len(LANGUAGES))]
    choices = {language: [str(text) for text in rng.permutation(_templates(changes, language))] for language in order}
    sentences = []
    for number in range(count):
        language = order[number % len(order)]
        if choices[language]:
            sentences.append(_filled(choices[language].pop(), changes, language, rng))
    return list(dict.fromkeys(sentences))


def language_of(sentence: str) -> str:
    """Return the language of a sentence: en or zh."""
    return "en" if sentence.isascii() else "zh"


def _templates(changes: tuple[Change, ...], language: str) -> tuple[str, ...]:
    if len(changes) > 1:
        return tuple(getattr(JOINED, language))
    (change,) = changes
    table = OPEN[change.attribute] if change.new is None else SINGLE[_kind(change)]
    return tuple(getattr(table, language))


def _filled(template: str, changes: tuple[Change, ...], language: str, rng: np.random.Generator) -> str:
    if len(changes) == 1:
        return template.format(**_values(changes[0], language, rng))
    parts = [getattr(PARTS[_kind(change)], language)[0].format(**_values(change, language, rng)) for change in changes]
    return template.format(*parts)


def _kind(change: Change) -> str:
    if change.attribute != PRINTED:
        return change.attribute
    return TO_PLAIN if change.new == "plain" else FROM_PLAIN if change.old == "plain" else PRINTED


def _values(change: Change, language: str, rng: np.random.Generator) -> dict[str, str]:
    values = {}
    for name, value in (("old", change.old), ("new", change.new)):
        if value is not None:
            words = getattr(WORDS[change.attribute][value], language)
            values[name] = words[0] if rng.uniform() > SYNONYM else str(rng.choice(words[1:]))
            values[f"{name}_print"] = getattr(PRINTS.get(value, Names(("",), ("",))), language)[0]
    return values

"""Writes the texts of sellers: a title and a description that name some properties of an item, in either language.

Properties are left out, moved from the title to the description, reordered and replaced by synonyms. So several
products often match one text equally well, and no single word identifies the category.
"""

from typing import NamedTuple

import numpy as np

from shop.photos import Item
from shop.words import BUILDS, COLOURS, FILLERS, MATERIALS, PATTERNS, PRAISE, Names

# Property -> probability that a listing names it, and that it then is in the title.
INCLUSION: dict[str, tuple[float, float]] = {
    "kind": (0.90, 0.92),
    "colour": (0.95, 0.85),
    "pattern": (0.93, 0.80),
    "second": (0.80, 0.45),
    "material": (0.60, 0.50),
    "build": (0.45, 0.60),
}
PLAIN_INCLUSION = 0.45
SYNONYM = 0.35
SENTENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "kind": ("This is a {}.", "Type: {}."),
        "colour": ("Comes in {}.", "Colour: {}."),
        "pattern": ("Pattern: {}.", "A {} design."),
        "second": ("With {} details.", "Trimmed in {}."),
        "material": ("Material: {}.", "A {} finish."),
        "build": ("Shape: {}.", "A {} model."),
    },
    "zh": {
        "kind": ("品类：{}。", "一款{}。"),
        "colour": ("颜色：{}。", "主色为{}。"),
        "pattern": ("图案：{}。", "{}设计。"),
        "second": ("{}点缀。", "搭配{}。"),
        "material": ("材质：{}。", "{}质感。"),
        "build": ("款型：{}。", "{}造型。"),
    },
}
SECOND_IN_TITLE = {"en": ("with {}", "and {}"), "zh": ("配{}", "拼{}")}


class Listing(NamedTuple):
    """A product's two texts; either may be empty."""

    title: str
    description: str


def write_listing(item: Item, kind: Names, rng: np.random.Generator) -> Listing:
    """Return the listing of one seller for an item whose category has these names."""
    words = _properties(item, kind)
    title_language = "zh" if rng.uniform() < 0.5 else "en"
    mixed = rng.uniform() < 0.1
    body_language = {"zh": "en", "en": "zh"}[title_language] if mixed else title_language
    in_title: list[str] = []
    in_body: list[str] = []
    for name, (included, titled) in INCLUSION.items():
        if rng.uniform() < (PLAIN_INCLUSION if words[name] is PATTERNS["plain"] else included):
            (in_title if rng.uniform() < titled else in_body).append(name)
    title = _title({name: _word(words[name], title_language, rng) for name in in_title}, title_language, rng)
    if rng.uniform() < 0.06:
        return Listing(title, "")
    body = {name: _word(words[name], body_language, rng) for name in in_body}
    return Listing(title, _description(body, body_language, rng))


def write_caption(item: Item, kind: Names, rng: np.random.Generator) -> str:
    """Return one line that names the properties of an item as a title does, but leaves out few."""
    words = _properties(item, kind)
    included = [name for name in words if rng.uniform() < (0.95 if name not in ("material", "build") else 0.7)]
    language = "zh" if rng.uniform() < 0.5 else "en"
    return _title({name: _word(words[name], language, rng) for name in included}, language, rng)


def _properties(item: Item, kind: Names) -> dict[str, Names]:
    return {
        "kind": kind,
        "colour": COLOURS[item.colour],
        "pattern": PATTERNS[item.pattern],
        "second": COLOURS[item.second],
        "material": MATERIALS[item.material],
        "build": BUILDS[item.build],
    }


def _word(names: Names, language: str, rng: np.random.Generator) -> str:
    choices = names.zh if language == "zh" else names.en
    return choices[0] if rng.uniform() > SYNONYM else choices[rng.integers(1, len(choices))]


def _title(words: dict[str, str], language: str, rng: np.random.Generator) -> str:
    kind = words.pop("kind", None)
    second = words.pop("second", None)
    properties = [str(word) for word in rng.permutation(list(words.values()))] if words else []
    tail = [SECOND_IN_TITLE[language][rng.integers(2)].format(second)] if second else []
    filler = FILLERS.zh if language == "zh" else FILLERS.en
    head = [filler[rng.integers(len(filler))]] if rng.uniform() < 0.3 or not (properties or kind) else []
    if kind and rng.uniform() < 0.3:
        parts = [*head, kind + ("，" if language == "zh" else ","), *properties, *tail]
    else:
        parts = [*head, *properties, *([kind] if kind else []), *tail]
    if language == "zh":
        return ("" if rng.uniform() < 0.6 else " ").join(parts)
    text = " ".join(parts)
    return text[:1].upper() + text[1:]


def _description(words: dict[str, str], language: str, rng: np.random.Generator) -> str:
    sentences = [SENTENCES[language][name][rng.integers(2)].format(word) for name, word in words.items()]
    if rng.uniform() < 0.5:
        praise = PRAISE.zh if language == "zh" else PRAISE.en
        sentences.append(praise[rng.integers(len(praise))])
    if not sentences:
        return ""
    between = "\n" if rng.uniform() < 0.12 else "" if language == "zh" else " "
    return between.join(str(sentence) for sentence in rng.permutation(sentences))

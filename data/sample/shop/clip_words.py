"""Writes the captions of a clip: what product it shows, and what happens to it, in English and Chinese.

An action and its opposite differ in the order of the frames alone, as the clip of one is that of the other played
backwards. A clip without an action has captions that a single frame answers.
"""

from typing import NamedTuple

import numpy as np

from shop.words import COLOURS, PATTERNS, Names

LANGUAGES = ("en", "zh")
SYNONYM = 0.2
# Captions of a clip in each language.
CAPTIONS = 2
TIME, STILL = "time", "still"
# Action -> what happens when its frames run forward, and when they run backwards; {0} is the product.
ACTIONS: dict[str, tuple[Names, Names]] = {
    "colour": (
        Names(
            ("{0} turns from {old} to {new}", "first {old}, then {new}: {0}", "{0} changes from {old} to {new}"),
            ("{0}从{old}变成{new}", "{0}先是{old}，然后变成{new}", "{0}由{old}变为{new}"),
        ),
        Names(
            ("{0} turns from {new} to {old}", "first {new}, then {old}: {0}", "{0} changes from {new} to {old}"),
            ("{0}从{new}变成{old}", "{0}先是{new}，然后变成{old}", "{0}由{new}变为{old}"),
        ),
    ),
    "across": (
        Names(
            ("{0} moves from left to right", "{0} enters left and leaves right", "{0} glides to the right"),
            ("{0}从左向右移动", "{0}从左边移到右边", "{0}向右滑过去"),
        ),
        Names(
            ("{0} moves from right to left", "{0} enters right and leaves left", "{0} glides to the left"),
            ("{0}从右向左移动", "{0}从右边移到左边", "{0}向左滑过去"),
        ),
    ),
    "distance": (
        Names(
            ("{0} comes closer", "the camera moves towards {0}", "{0} grows larger and larger"),
            ("{0}越来越近", "镜头推近{0}", "{0}慢慢变大"),
        ),
        Names(
            ("{0} moves away", "the camera pulls back from {0}", "{0} becomes smaller and smaller"),
            ("{0}越来越远", "镜头拉远{0}", "{0}慢慢变小"),
        ),
    ),
    "turn": (
        Names(
            ("{0} tips over", "{0} falls onto its side", "{0} rolls over from upright"),
            ("{0}慢慢倒下", "{0}倒向一边", "{0}由立到倒"),
        ),
        Names(
            ("{0} is set upright", "{0} gets up from its side", "{0} rises from lying"),
            ("{0}慢慢立起来", "{0}被扶正", "{0}由倒到立"),
        ),
    ),
}
STILL_CAPTIONS = Names(
    ("{0}", "a photo shoot of {0}", "{0} on display", "here you see {0}"),
    ("{0}", "展示{0}", "一款{0}", "{0}的特写"),
)


def phrases() -> list[str]:
    """Return all frames of captions without their product and colours, for a vocabulary."""
    names = [*(name for pair in ACTIONS.values() for name in pair), STILL_CAPTIONS]
    return [frame.format("", old="", new="") for name in names for frame in (*name.en, *name.zh)]


class Shown(NamedTuple):
    """What a caption names: the names of the category, the pattern, the colour, and the colour that it changes to."""

    names: Names
    pattern: str
    colour: str
    new: str | None


def write_captions(shown: Shown, action: str | None, backwards: bool, rng: np.random.Generator) -> list[str]:
    """Return the different captions of a clip, CAPTIONS in each language, English first; no action means a still."""
    templates = STILL_CAPTIONS if action is None else ACTIONS[action][backwards]
    captions = []
    for language in LANGUAGES:
        choices = [str(text) for text in rng.permutation(getattr(templates, language))][:CAPTIONS]
        captions += [_filled(template, shown, language, rng) for template in choices]
    return captions


def language_of(caption: str) -> str:
    """Return the language of a caption: en or zh."""
    return "en" if caption.isascii() else "zh"


def _filled(template: str, shown: Shown, language: str, rng: np.random.Generator) -> str:
    def word(names: Names) -> str:
        words = getattr(names, language)
        return words[0] if rng.uniform() > SYNONYM else str(rng.choice(words[1:]))

    parts = [word(PATTERNS[shown.pattern]), word(shown.names)]
    if shown.new is None:
        parts = [word(COLOURS[shown.colour]), *parts]
    colours = {} if shown.new is None else {"old": word(COLOURS[shown.colour]), "new": word(COLOURS[shown.new])}
    product = f"the {' '.join(parts)}" if language == "en" else "".join(parts)
    return template.format(product, **colours)

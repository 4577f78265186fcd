"""Texts of products on the page: their language and direction by their script, and the beginning of a long one."""

import itertools

from markupsafe import Markup

# Language tag -> the ranges of the characters that name it, in the order in which they are looked for: Japanese has
# Han characters too.
RANGES = {
    "ja": (("\u3040", "\u30ff"),),
    "ko": (("\uac00", "\ud7af"), ("\u1100", "\u11ff")),
    "zh": (("\u4e00", "\u9fff"), ("\u3400", "\u4dbf")),
    "ar": (("\u0600", "\u06ff"), ("\u0750", "\u077f"), ("\ufb50", "\ufdff"), ("\ufe70", "\ufefc")),
    "he": (("\u0590", "\u05ff"),),
    "hi": (("\u0900", "\u097f"),),
    "th": (("\u0e00", "\u0e7f"),),
    "ru": (("\u0400", "\u04ff"),),
    "el": (("\u0370", "\u03ff"),),
}
# Characters of a text that a heading shows; a character of a wide script counts as two.
LONGEST = 180


def language(text: str) -> str:
    """Return the language tag of a text: that of the first script of RANGES in it, else English.

    >>> language("红色杯子 red mug"), language("كوب أحمر"), language("लाल मग"), language("red mug")
    ('zh', 'ar', 'hi', 'en')
    """
    for tag, ranges in RANGES.items():
        if any(low <= sign <= high for sign in text for low, high in ranges):
            return tag
    return "en"


def script_attributes(text: str) -> Markup:
    """Return the attributes of an element that has a text: its language, and the direction of its first letter.

    >>> script_attributes("كوب أحمر")
    Markup('lang="ar" dir="auto"')
    """
    return Markup(f'lang="{language(text)}" dir="auto"')


def is_long(text: str) -> bool:
    """Return whether a heading shows only the beginning of a text."""
    return sum(map(_width, text[: LONGEST + 1])) > LONGEST


def shortened(text: str) -> str:
    """Return the beginning of a long text up to the last space before LONGEST, and a short text unchanged.

    >>> shortened("red mug"), shortened("word " * 60)[-10:]
    ('red mug', 'word word…')
    """
    if not is_long(text):
        return text
    widths = itertools.accumulate(map(_width, text))
    end = sum(1 for _ in itertools.takewhile(lambda width: width <= LONGEST, widths))
    space = text.rfind(" ", end // 2, end)
    return text[: space if space > 0 else end].rstrip() + "…"


def _width(sign: str) -> int:
    return 2 if sign >= "\u2e80" else 1

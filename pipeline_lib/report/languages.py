"""The language and direction of a text, by its script: for the right glyphs, for speech, and for bidirectional text."""

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

"""The one cleaning step for labels, ids, groups, texts and names of files, used by every reader and for queries.

Strings that look equal become equal: NFC, no invisible characters, one space for each run of white space. The joiners
U+200C and U+200D remain inside words and emoji, where they change what is read.
"""

import html
import re
import unicodedata
from collections.abc import Iterable

import polars as pl

# Soft hyphen, zero-width space, marks of direction, word joiner, byte order mark and the like.
INVISIBLE = r"[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
JOINERS_AFTER = r"(^|[\x00-\x7f])[\u200c\u200d]+"
JOINERS_BEFORE = r"[\u200c\u200d]+([\x00-\x7f]|$)"
# Half of a character outside the first 65,536: what remains of an emoji that was cut by its length in UTF-16.
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
INVISIBLE_PATTERN, JOINERS_AFTER_PATTERN, JOINERS_BEFORE_PATTERN = map(
    re.compile, (INVISIBLE, JOINERS_AFTER, JOINERS_BEFORE)
)
# Unicode's White_Space, as Polars understands it; Python's \s has four control characters more.
SPACE_PATTERN = re.compile(r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
TAGS = r"<[a-zA-Z/!][^>]*>|\\n"
WHOLE_NUMBER = r"^[+-]?\d+(\.0+)?$"


def clean(column: pl.Expr) -> pl.Expr:
    """Return the column with every string cleaned; a string without a visible character becomes null."""
    visible = column.str.normalize("NFC").str.replace_all(INVISIBLE, "")
    joined = visible.str.replace_all(JOINERS_AFTER, "$1").str.replace_all(JOINERS_BEFORE, "$1")
    return joined.str.replace_all(r"\s+", " ").str.strip_chars().replace("", None)


def clean_text(column: pl.Expr) -> pl.Expr:
    """Return the cleaned column with empty strings instead of nulls."""
    return clean(column).fill_null("")


def clean_name(column: pl.Expr) -> pl.Expr:
    """Return the cleaned column of labels, ids or groups; if all of them are whole numbers, 1.0 becomes 1.

    pandas writes a column of whole numbers with a gap as 1.0, 2.0 and so on. A column that also has 1.5 is unchanged.
    """
    cleaned = clean(column)
    numbers = cleaned.str.contains(WHOLE_NUMBER).all()
    return pl.when(numbers).then(cleaned.str.replace(r"\.0+$", "")).otherwise(cleaned)


def clean_string(text: str) -> str:
    r"""Return one string cleaned, as `clean_text` does.

    >>> clean_string("Home\u00a0 & Garden\u200b")
    'Home & Garden'
    """
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    visible = INVISIBLE_PATTERN.sub("", unicodedata.normalize("NFC", text))
    joined = JOINERS_BEFORE_PATTERN.sub(r"\1", JOINERS_AFTER_PATTERN.sub(r"\1", visible))
    return " ".join(SPACE_PATTERN.split(joined)).strip(" ")


def clean_strings(strings: Iterable[str]) -> list[str]:
    """Return each string cleaned."""
    return [text if text.isascii() and text.isalnum() else clean_string(text) for text in strings]


def drop_half_characters(text: str) -> str:
    r"""Return the text without half characters, which no file of UTF-8 can hold.

    >>> drop_half_characters("mug \ud83d")
    'mug '
    """
    return HALF_CHARACTER.sub("", text)


def strip_tags(column: pl.Expr) -> pl.Expr:
    """Return a column of HTML as plain text: tags and written-out line breaks become spaces, entities characters."""

    def unescape(texts: pl.Series) -> pl.Series:
        return pl.Series(texts.name, [text and html.unescape(text) for text in texts.to_list()], dtype=pl.String)

    return column.str.replace_all(TAGS, " ").map_batches(unescape, return_dtype=pl.String, is_elementwise=True)

"""An error of a library as part of a message of one line.

Messages of parsers and decoders have several lines, and some have the address of an object in memory.
"""

import re
from collections.abc import Collection

SHOWN = 60  # characters of a value of a text file

# Where an object is in memory, which differs between runs.
ADDRESS = re.compile(r" object at 0x[0-9a-f]+>")
# A value of JSON as serde quotes it.
QUOTED = re.compile(r'\bstring "(?:[^"\\]|\\.)*"')


def show(value: object) -> str:
    """Return a value of a text file for a message: at most 60 characters, on one line, half characters escaped.

    >>> show("x" * 99) == repr("x" * 60), show([1, 2])
    (True, '[1, 2]')
    """
    text = repr(value[:SHOWN]) if isinstance(value, str) else str(value)[:SHOWN]
    return text.encode(errors="backslashreplace").decode()


def kind_of(value: object) -> str:
    """Return what a value of a JSON file is, without quoting it.

    >>> kind_of({}), kind_of([]), kind_of(True), kind_of(2.5), kind_of(None)
    ('an object', 'a list', 'true or false', 'a number', 'null')
    """
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def fault_of(error: object) -> str:
    """Return what a library says of bytes that are no file of its format, without the bytes that it quotes.

    >>> fault_of(ValueError("Token too long in file header: b'secret'"))
    'Token too long in file header'
    """
    return one_line(error).partition(": ")[0]


def one_line(error: object, longest: int | None = None) -> str:
    """Return an error's message on one line, or its type if it has no message.

    Addresses in memory are left out, and texts of the file that parsers in Rust quote.

    >>> one_line(ValueError("no  key, on line 3"), 6), one_line(EOFError())
    ('no key', 'EOFError')
    >>> one_line(ValueError('invalid type: string "secret", expected struct Tokenizer'))
    'invalid type: a text, expected struct Tokenizer'
    """
    text = QUOTED.sub("a text", ADDRESS.sub(">", " ".join(str(error).split())))
    return text[:longest] or type(error).__name__


def only_in(first: Collection[str], second: Collection[str], places: tuple[str, str]) -> str:
    """Return how many names only one of two collections has, each with the first such name; "" if they are equal.

    >>> only_in(["cup", "hat"], ["cup", "mug", "pan"], ("in the start", "here"))
    "1 only in the start ('hat'), 2 only here ('mug', ...)"
    """
    sides = [(sorted({*first} - {*second}), places[0]), (sorted({*second} - {*first}), places[1])]
    return ", ".join(
        f"{len(names)} only {place} ({names[0]!r}{', ...' * (len(names) > 1)})" for names, place in sides if names
    )

"""An error of a library as part of a message of one line.

Messages of parsers and decoders have several lines, and some have the address of an object in memory.
"""

import re

# Where an object is in memory, which differs between runs.
ADDRESS = re.compile(r" object at 0x[0-9a-f]+>")


def one_line(error: object, longest: int | None = None) -> str:
    """Return an error's message on one line without addresses in memory, or its type if it has no message.

    >>> one_line(ValueError("no  key, on line 3"), 6), one_line(EOFError())
    ('no key', 'EOFError')
    """
    return ADDRESS.sub(">", " ".join(str(error).split()))[:longest] or type(error).__name__

"""Finds the encoding of a text file before anything is read from it, so that a fault is one line with its place.

UTF-8 and UTF-16 are read, with or without a byte order mark. A file of another kind under the name of a table (a
workbook, an archive, a web page) is named with what to do.
"""

import codecs
import re
from pathlib import Path
from typing import TextIO

BLOCK_SIZE = 1 << 20
# The first bytes of a file that is not text -> what it is and what to do.
OTHER_KINDS = {
    b"PK\x03\x04": "an Excel workbook (.xlsx) or another zip archive; save the sheet as CSV UTF-8, or unzip it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save the sheet as CSV UTF-8",
    b"\x1f\x8b": "compressed by gzip; unpack it with `gunzip`",
    b"PAR1": "a Parquet file; write it as CSV, for example with `polars.read_parquet(...).write_csv(...)`",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with `git lfs pull`",
    b"<!doctype": "a web page, perhaps the error page of a download; download the file again",
    b"<html": "a web page, perhaps the error page of a download; download the file again",
}
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def find_encoding(path: Path) -> str:
    """Return the encoding of a text file; ValueError with line and byte, or with the kind of a file that is no text."""
    with path.open("rb") as stream:
        head = stream.read(64)
    kind = next((what for mark, what in OTHER_KINDS.items() if head.lower().startswith(mark.lower())), None)
    if kind is not None:
        raise ValueError(f"{path}: this is {kind}")
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if encoding is None:
        # Text in UTF-16 without a mark: the first character is ASCII, so one of its two bytes is zero.
        encoding = {b"\0": "utf-16-be"}.get(head[:1], "utf-16-le" if head[1:2] == b"\0" else "utf-8")
    _check_bytes(path, encoding.removesuffix("-sig"))
    return encoding


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open a text file in its encoding; raises the same errors as `find_encoding`."""
    return path.open(encoding=find_encoding(path), newline=newline)


def _check_bytes(path: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    done = line = 0
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK_SIZE)
            num_pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(error.encoding, errors="replace")
                raise ValueError(
                    f"{path}: line {line + _count_lines(before) + 1}: "
                    f"{_describe(error, done - num_pending + error.start)}"
                ) from None
            line += _count_lines(text)
            if not block:
                return
            done += len(block)


def _describe(error: UnicodeDecodeError, position: int) -> str:
    """Return what is wrong with a byte and what to do."""
    byte = error.object[error.start]
    if error.encoding != "utf-8":
        return f"byte 0x{byte:02x} (offset {position}) is not {error.encoding.upper()}; save the file as UTF-8"
    if re.match(rb"\xed[\xa0-\xbf]", error.object[error.start :]):
        return (
            f"byte 0x{byte:02x} (offset {position}) is half of a character, what remains of a cut emoji; "
            "remove such bytes with `iconv -c -f UTF-8 -t UTF-8`"
        )
    return (
        f"byte 0x{byte:02x} (offset {position}) is not UTF-8; save the file as UTF-8 (for example with "
        "`iconv -f GB18030 -t UTF-8`)"
    )


def _count_lines(text: str) -> int:
    return text.count("\n") if "\n" in text else text.count("\r")

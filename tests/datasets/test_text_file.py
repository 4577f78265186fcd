"""Text files: encodings, and files of another kind under the name of a table."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import pytest
from written_tables import table

from pipeline_lib.datasets import text_file
from pipeline_lib.datasets.text_file import find_encoding, open_text


def test_a_byte_that_is_not_utf8_is_named_by_line(table, monkeypatch):
    path = table(b'id,text\n1,"two\nlines"\n2,caf\xe9\n')
    for block in (1, 7, 1 << 20):
        monkeypatch.setattr(text_file, "BLOCK_SIZE", block)
        with pytest.raises(
            ValueError, match=r"products.csv: line 4: byte 0xe9 \(offset 27\) is not UTF-8; .*iconv -f GB"
        ):
            find_encoding(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,文\n".encode("gb18030"), "line 1: byte 0xce"),
        (b"id\n1\n\xff", "line 3: byte 0xff"),
        (b"id\n1\xe6\x96", "line 2: byte 0xe6"),
        (b"\xef\xbb\xbfid\n1,mug \xed\xa0\xbd\n", r"line 2: byte 0xed \(offset 12\) is half of a character.*iconv -c"),
        (
            "\ufeffid\n1".encode("utf-16-le") + b"\n",
            r"line 2: byte 0x0a \(offset 10\) is not UTF-16-LE; save",
        ),
        (b"PK\x03\x04\x14\0\x06\0", "this is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "this is an old Excel workbook"),
        (b"\x1f\x8b\x08\0", "this is compressed by gzip"),
        (b"PAR1\x15", "this is a Parquet file"),
        (b"<!DOCTYPE html>\n<html>", "this is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "this is a pointer of Git LFS"),
    ],
)
def test_another_encoding_or_kind_of_file_is_one_line(table, content, message):
    with pytest.raises(ValueError, match=f"products.csv: {message}") as caught:
        find_encoding(table(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_characters_across_blocks_are_read(table, monkeypatch, encoding):
    monkeypatch.setattr(text_file, "BLOCK_SIZE", 3)
    with open_text(table("id,文字\n1,杯子 😀\n".encode(encoding))) as stream:
        assert stream.read() == "id,文字\n1,杯子 😀\n"

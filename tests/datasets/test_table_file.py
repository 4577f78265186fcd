"""CSV files: encoding, header and rows."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_tables import table

from pipeline_lib.datasets import table_file
from pipeline_lib.datasets.table_file import check_utf8, find_table, read_columns, read_header


def test_the_only_csv_is_found_and_others_are_named(tmp_path, table):
    with pytest.raises(ValueError, match=r"no .csv file there; add one"):
        find_table(tmp_path, None)
    path = table("id\n", "one.CSV")
    assert find_table(tmp_path, None) == path
    table("id\n", "two.csv")
    with pytest.raises(ValueError, match=r"several CSV files: one.CSV, two.csv; name one in data.table"):
        find_table(tmp_path, None)
    assert find_table(tmp_path, "two.csv").name == "two.csv"
    with pytest.raises(ValueError, match=r"data.table = 'three.csv': no such file .* \['one.CSV', 'two.csv'\]"):
        find_table(tmp_path, "three.csv")
    with pytest.raises(ValueError, match=r"data.root = '.*absent': no such folder"):
        find_table(tmp_path / "absent", None)


def test_a_byte_that_is_not_utf8_is_named_by_row(table, monkeypatch):
    path = table(b'id,text\n1,"two\nlines"\n2,caf\xe9\n')
    message = r"products.csv: row 3: byte 0xe9 \(offset 27\) is not UTF-8; save the table as UTF-8"
    for block in (1, 7, 1 << 20):
        monkeypatch.setattr(table_file, "BLOCK_SIZE", block)
        with pytest.raises(ValueError, match=message):
            check_utf8(path)


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("id,文\n".encode("gb18030"), 1),
        ("id,text\n1,a\n".encode("utf-16"), 1),
        (b"id\n1\n\xff", 3),
        (b"id\n1\xe6\x96", 2),
    ],
)
def test_other_encodings_and_truncated_characters_are_refused(table, content, row):
    with pytest.raises(ValueError, match=rf"row {row}: byte 0x"):
        check_utf8(table(content))


def test_characters_across_blocks_are_allowed(table, monkeypatch):
    monkeypatch.setattr(table_file, "BLOCK_SIZE", 2)
    check_utf8(table("\ufeffid,文字\n1,杯子 😀\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the table is empty: its first row must name the columns"),
        ("\n", "the table is empty"),
        ("id,text\n", "the table is empty: it has a header and no rows"),
        ("id,text\n\n,\n", "the table is empty: it has a header and no rows"),
        ("id,text\n1,a\n2,b,c\n", "row 3 has 3 fields, but the header has 2; quote fields with commas"),
        ('id,text\n1,a\n2,"open\n3,c\n', "row 3: unexpected end of data; quote the field"),
        ('id,text\n1,"a" b\n', "row 2: .* quote the field and double the quotation marks"),
    ],
)
def test_a_table_that_cannot_be_read_raises_with_the_row(table, content, message):
    path = table(content)
    with pytest.raises(ValueError, match=message):
        read_columns(path, read_header(path), ["id", "text"])


def test_empty_rows_at_the_end_are_omitted_and_inner_ones_are_counted(table):
    path = table("\ufeff id ,text,id2\r\n 1 ,a,\r\n,,\r\n2,,\r\n,,\r\n\r\n")
    assert read_header(path) == ["id", "text", "id2"]
    frame = read_columns(path, read_header(path), ["id", "text"])
    assert frame.rows() == [(2, "1", "a"), (3, None, None), (4, "2", None)]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=8))
def test_rows_survive_a_round_trip_through_csv(tmp_path_factory, rows):
    rows = [(f"k{place}{first.strip()}", second) for place, (first, second) in enumerate(rows)]
    text = io.StringIO()
    csv.writer(text).writerows([("id", "text"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    frame = read_columns(path, ["id", "text"], ["id", "text"])
    stripped = [(first.strip(), second.strip() or None) for first, second in rows]
    # Python also strips control characters that Unicode does not define as white space.
    assert [(one.strip(), (two or "").strip() or None) for _, one, two in frame.rows()] == stripped

"""CSV files: which file, its delimiter, its header and its rows."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_tables import table

from pipeline_lib.catalogue.schema import HEADER_AGAIN, REJECTS
from pipeline_lib.datasets.csv_rows import BARE_QUOTE, FEWER_FIELDS, MORE_FIELDS
from pipeline_lib.datasets.table_file import find_table, open_table, read_columns


def read(path, *columns):
    return read_columns(open_table(path), list(columns))


def test_the_only_csv_is_found_and_others_are_named(tmp_path, table):
    with pytest.raises(ValueError, match=r"no .csv file there; add one"):
        find_table(tmp_path, None)
    table("PK", "shop.xlsx")
    with pytest.raises(ValueError, match=r"no .csv file there \(files there: shop.xlsx\); add one"):
        find_table(tmp_path, None)
    path = table("id\n", "one.CSV")
    assert find_table(tmp_path, None) == path
    table("id\n", "two.csv")
    with pytest.raises(ValueError, match=r"several CSV files: one.CSV, two.csv; name one in data.table"):
        find_table(tmp_path, None)
    assert find_table(tmp_path, "two.csv").name == "two.csv"
    assert find_table(tmp_path, None, others=("two.csv", None)).name == "one.CSV"
    with pytest.raises(ValueError, match=r"data.table = 'three.csv': no such file .* \['one.CSV', 'two.csv'\]"):
        find_table(tmp_path, "three.csv")
    with pytest.raises(ValueError, match=r"data.root = '.*absent': no such folder; put a CSV and its images there"):
        find_table(tmp_path / "absent", None)
    with pytest.raises(ValueError, match=r"data.root = '.*two.csv': a file, not a folder"):
        find_table(tmp_path / "two.csv", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the table is empty: its first row must name the columns"),
        ("\n", "the table is empty"),
        ("id,text\n", "the table is empty: it has a header and no rows"),
        ("id,text\n\n,\n", "the table is empty: it has a header and no rows"),
    ],
)
def test_an_empty_table_is_one_line(table, content, message):
    with pytest.raises(ValueError, match=message):
        read(table(content), "id", "text")


def test_a_row_that_cannot_be_read_is_a_reject_with_its_row_and_line(table):
    path = table('id,text\n1,a\n2,b,c\n3,"two\nlines"\n4,"open\nid,text\n5,"a" b\n6\n7,g\n')
    frame, rejects = read(path, "id", "text")
    assert frame.rows() == [(2, "1", "a"), (4, "3", "two\nlines"), (8, "6", None), (9, "7", "g")]
    assert rejects.schema == REJECTS
    assert rejects.select("row", "reason", "value", "action").rows() == [
        (3, MORE_FIELDS, "line 3: 2,b,c", "rejected"),
        (5, BARE_QUOTE, 'line 6: 4,"open', "rejected"),
        (6, HEADER_AGAIN, "line 7: id,text", "rejected"),
        (7, BARE_QUOTE, 'line 8: 5,"a" b', "rejected"),
        (8, FEWER_FIELDS, "line 9: 6", "kept"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_line_end_encoding_and_delimiter_is_read(table, end, encoding, delimiter):
    lines = ["", " id , Text ", "", '007, "Mug, red; 5"" high"', "", ",", "008,杯子 😀"]
    text = end.join(line if '"' in line else line.replace(",", delimiter) for line in lines).replace(
        "007,", f"007{delimiter}"
    )
    path = table((text + end).encode(encoding))
    assert open_table(path).header == ["id", "Text"]
    frame, rejects = read(path, "id", "Text")
    assert frame.rows() == [(4, "007", 'Mug, red; 5" high'), (7, "008", "杯子 😀")]
    assert rejects.is_empty()


@pytest.mark.parametrize("again", ["id,title", "ID, Title ", "\ufeffid,title"])
def test_the_header_of_a_second_file_in_one_is_rejected(table, again):
    frame, rejects = read(table(f"\ufeffid,title\n1,a\n{again}\n2,b\n"), "title")
    assert frame["title"].to_list() == ["a", "b"]
    assert rejects.select("row", "reason").rows() == [(3, "header row again")]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=8))
def test_rows_survive_a_round_trip_through_csv(tmp_path_factory, rows):
    rows = [(f"k{place}{first.strip()}", second) for place, (first, second) in enumerate(rows)]
    text = io.StringIO()
    csv.writer(text).writerows([("id", "text"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    frame, rejects = read(path, "id", "text")
    assert rejects.filter(pl.col("action") == "rejected").is_empty()
    stripped = [(first.strip(), second.strip() or None) for first, second in rows]
    # Python also strips control characters that Unicode does not define as white space.
    assert [(one.strip(), (two or "").strip() or None) for _, one, two in frame.rows()] == stripped


def test_chunks_change_nothing(table, monkeypatch):
    path = table("id,text\n" + "".join(f"{number},t{number}\n" for number in range(10)))
    whole = read(path, "text", "id")[0]
    monkeypatch.setattr("pipeline_lib.datasets.table_file.ROW_GROUP", 3)
    assert read(path, "text", "id")[0].equals(whole) and len(whole) == 10

"""data.queries: composed queries for the products of any table, and what a row of it may get wrong."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import polars as pl
import pytest
from written_composed import save
from written_tables import reader_params, table

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.schema import ANSWER_DROPPED, QUERY_DROPPED, RETAINED
from pipeline_lib.catalogue.tables import count
from pipeline_lib.datasets.readers import read_records

PRODUCTS = "id,title\n" + "".join(f"{number},mug {number}\n" for number in range(1, 9))


@pytest.fixture
def shop(tmp_path, reader_params, table):
    """Write eight products and a table of queries, and return its records."""
    table(PRODUCTS)
    for number in range(1, 9):
        save(tmp_path / f"images/{number}.jpg", number)

    def read(queries, **changes):
        table(queries, "queries.csv")
        return read_records(reader_params(table="products.csv", queries="queries.csv", **changes))

    return read


def rejected(records):
    return records.rejects.select("row", "reason", "value", "action").rows()


def test_several_rows_of_a_query_are_several_answers(shop, reader_params):
    records = shop(
        "Query ID;reference_id;Text;target-id;grade;subset;slice;split;note\n"
        "a;1.0;the same in red;2.0;2;1|2|3|4;zh | held-out;val;x\n"
        "a;;;3.0;1;;;;\n"
        "b;4.0;条纹换成圆点;5.0;;;;;\n"
    )
    queries = records.composed.queries
    assert queries.select("query_id", "text", "reference_product_id", "subset", "split").rows() == [
        ("a", "the same in red", "1", ["1", "2", "3", "4"], "val"),
        ("b", "条纹换成圆点", "4", [], None),
    ]
    assert records.composed.relevance.rows() == [("a", "2", 2), ("a", "3", 1), ("b", "5", 1)]
    assert records.composed.slices.rows() == [("a", "zh"), ("a", "held-out")]
    assert rejected(records) == [] and records.ignored == ("queries.csv: note",)
    catalogue = build_catalogue(records, reader_params(), 1)
    # Text queries are made from the products' texts as without the table.
    assert catalogue.queries["kind"].value_counts().sort("kind").rows() == [("composed", 2), ("text", 8)]
    assert count(catalogue)["composed"] == {"queries": 2, "dropped": 0, "missing_candidates": 0}


def test_every_fault_of_a_row_is_one_line_with_its_number(shop):
    records = shop(
        "query_id,reference_id,text,target_id,grade,subset\n"
        "a,1,in red,2,,1|2|3|4|5|6\n"  # row 2
        "b,,in red,2,,\n"
        "c,99,in red,2,,\n"
        "d,1, ,2,,\n"
        "e,1,in red,1,,\n"
        "f,1,in red,,,\n"
        "g,1,in red,77,,\n"
        "h,1,in red,2,,1|2\n"
        "i,1,in red,2,,1|2|88\n"
        "j,1,in red,2,,1|3|4\n"  # row 11
        ",1,in red,2,,\n"
        "a,3,in red,4,,\n"
        "a,1,in red,2,,\n"
        "k,1,in blue,2,,\n"
        "k,1,in blue,3,high,\n"
        "k,,,,,\n"
        "l,1,in blue,2,,1|2|3\n"
        "m,1,in blue,2,2,\n"
        "m,1,in blue,66,1,\n"
        "n,1,x,2,,,too many\n"
        "o,1,in green,2,,1|2|3|4|5|6\n"
    )
    assert rejected(records) == [
        (3, "missing reference", "b", QUERY_DROPPED),
        (4, "reference is no listed product", "c: 99", QUERY_DROPPED),
        (5, "empty caption", "d", QUERY_DROPPED),
        (6, "target equal to its reference", "e: 1", QUERY_DROPPED),
        (7, "no target", "f", QUERY_DROPPED),
        (8, "target is no listed product", "g: 77", QUERY_DROPPED),
        (9, "subset of a wrong size", "h: 2 products; write 2 or more beside the reference", QUERY_DROPPED),
        (10, "subset names no listed product", "i: 88", QUERY_DROPPED),
        (11, "subset without its target", "j: 2", QUERY_DROPPED),
        (12, "empty query id", "in red", QUERY_DROPPED),
        (13, "query id twice", "a: another reference than in row 2", ANSWER_DROPPED),
        (14, "answer twice", "a: 2", ANSWER_DROPPED),
        (16, "grade is no whole number from 1", "k: high", ANSWER_DROPPED),
        (17, "empty target", "k", ANSWER_DROPPED),
        (18, "subset of another size than most", "l: 2 products", RETAINED),
        (19, "soft answer left out", "m: 66", ANSWER_DROPPED),
        (21, "more fields than the header", "line 21: n,1,x,2,,,too many", QUERY_DROPPED),
    ]
    assert records.composed.queries["query_id"].to_list() == ["a", "k", "l", "m", "o"]
    assert records.composed.num_dropped == 11


@pytest.mark.parametrize(
    ("queries", "named", "message"),
    [
        (
            "query_id,text,target_id\n",
            "queries.csv",
            r"no column 'reference_id'; columns found: query_id, text, target_id",
        ),
        (
            "query_id,reference_id,text,target_id,split\na,1,x,2,holdout\n",
            "queries.csv",
            r"queries\.csv: row 2: split = 'holdout'; write train, val",
        ),
        ("query_id,reference_id,text,target_id\n", "queries.csv", "it has a header and no rows"),
        ("", "other.csv", r"data\.queries = 'other\.csv': no such file in"),
        ("", "../queries.csv", r"\.\./queries\.csv: unsafe path, so it is not read"),
    ],
)
def test_what_the_file_gets_wrong_stops_the_run(shop, table, reader_params, queries, named, message):
    table(PRODUCTS)
    table(queries, "queries.csv")
    with pytest.raises(ValueError, match=message):
        read_records(reader_params(table="products.csv", queries=named))


def test_a_query_of_the_test_split_may_have_no_answer(shop):
    records = shop("query_id,reference_id,text,target_id,split\na,1,in red,,test\nb,1,in red,,train\n")
    assert records.composed.queries["query_id"].to_list() == ["a"]
    assert rejected(records) == [(3, "no target", "b", QUERY_DROPPED)]

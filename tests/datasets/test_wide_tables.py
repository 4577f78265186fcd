"""Tables with very many columns: read like narrow ones, and no message or count lists a million names."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import csv
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_tables import table

from pipeline_lib.catalogue.schema import HEADER_AGAIN
from pipeline_lib.datasets.columns import resolve_columns
from pipeline_lib.datasets.csv_rows import BARE_QUOTE, FEWER_FIELDS, LONG_CELL, MORE_FIELDS, find_bare_quotes, read_rows
from pipeline_lib.datasets.table_file import listing, not_read, open_table, read_columns
from pipeline_lib.params.data import ColumnParams

NONE = ColumnParams(**dict.fromkeys(ColumnParams.model_fields))
WIDE = 40_000  # the header is longer than the csv module's longest cell


def wide(rows=2, mark=""):
    names = ["id", "title", "image", *(f"{mark}column {number}{mark}" for number in range(WIDE - 3))]
    cells = [[f"p{row}", f"shirt {row}", "a.jpg", *["1"] * (WIDE - 3)] for row in range(rows)]
    return "".join(",".join(line) + "\n" for line in [names, *cells])


@pytest.mark.parametrize("mark", ["", '"'])
def test_a_header_longer_than_the_longest_cell_is_read(table, mark):
    opened = open_table(table(wide(mark=mark)))
    assert (len(opened.header), opened.delimiter) == (WIDE, ",")
    frame, rejects = read_columns(opened, ["id", "title"])
    assert frame.rows() == [(2, "p0", "shirt 0"), (3, "p1", "shirt 1")] and not len(rejects)


def test_a_cell_that_no_delimiter_cuts_is_one_line(table):
    with pytest.raises(ValueError, match=r"products\.csv: row 1: cell of more than 131,072 characters; close its quot"):
        open_table(table("x" * 200_000 + "\n1\n"))
    with pytest.raises(ValueError, match=r"products\.csv: row 1: cell of more than 131,072 characters"):
        open_table(table('"id,text\n' + "1,a\n" * 60_000))


def test_a_wide_row_costs_what_its_used_columns_cost(table):
    opened = open_table(table(wide(rows=3).replace(",1", ",1234")))
    list(resolve_columns("t", opened.header, NONE).used())
    tracemalloc.start()
    read_columns(opened, ["id", "title", "image"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The lines take 0.2 MB each and the cells of the header 0.06 kB each; the cells of one row would add 2 MB more.
    assert peak < 5e6


def test_columns_that_are_not_read_are_listed_up_to_a_limit():
    header = ["id", "title", *(f"c{number}" for number in range(1000))]
    found = resolve_columns("t.csv", header, NONE)
    assert (found.id, found.text) == ("id", ("title",))
    assert found.ignored == (*header[2:202], "800 more")
    assert not_read(header[:5], {"id"}) == ("title", "c0", "c1", "c2")
    assert listing(header).endswith("c197 and 802 more") and listing(["a", ""]) == "a, (no name)"
    with pytest.raises(ValueError, match=r"no id column .* and 801 more\. Name it"):
        resolve_columns("t.csv", header[1:], NONE)


def test_a_row_of_delimiters_is_empty_and_a_header_again_is_found(table):
    path = table("id,a,b,c,d\n1,x,,,\n,,,,\n , ,\t, ,\nID,a,b,c,d\nid,a,b,c,other\n,y,,,\n")
    frame, rejects = read_columns(open_table(path), ["id", "a"])
    assert frame.rows() == [(2, "1", "x"), (6, "id", "a"), (7, None, "y")]
    assert rejects.select("row", "reason").rows() == [(5, HEADER_AGAIN)]


CELLS = st.lists(st.sampled_from(["", " ", "a", "bc", '"', ",", "\n", "é"]).map(str), min_size=0, max_size=6)


@given(st.lists(CELLS, max_size=6), st.integers(1, 4), st.booleans())
def test_the_used_columns_are_those_of_the_whole_row(rows, num_used, quoted):
    if quoted:
        stream = io.StringIO()
        csv.writer(stream).writerows(rows)
        text = stream.getvalue()
    else:
        text = "".join(",".join(row) + "\n" for row in rows)

    def read(used):
        def bare():
            return find_bare_quotes(io.StringIO(text, newline=""), ",", 4)

        return list(read_rows(io.StringIO(text, newline=""), ",", 4, bare, used))

    whole, part = read(None), read(num_used)
    lost = (BARE_QUOTE, MORE_FIELDS, LONG_CELL)
    assert [row._replace(cells=[]) for row in part] == [row._replace(cells=[]) for row in whole]
    for full, few in zip(whole, part, strict=True):
        if full.fault in lost:
            assert few == full
        else:
            assert few.cells[:num_used] == full.cells[:num_used] and len(full.cells) == 4
            assert full.fault != FEWER_FIELDS or few.cells == full.cells

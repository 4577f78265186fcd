"""Rows of CSV files: what a CSV writer wrote is read back, and what careless hands wrote is read or rejected by row."""

import csv
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.datasets.csv_rows import (
    BARE_QUOTE,
    EMPTY_FIELDS,
    FEWER_FIELDS,
    LONG_CELL,
    MORE_FIELDS,
    ROWS_IN_QUOTES,
    find_bare_quotes,
    read_rows,
)


def rows_of(text, width=3, delimiter=","):
    """Return the rows of a table as (number, cells or None, fault)."""

    def lines():
        return io.StringIO(text, newline="")

    rows = read_rows(lines(), delimiter, width, lambda: find_bare_quotes(lines(), delimiter, width))
    return [(row.number, row.cells, row.fault) for row in rows]


def readable(text, **options):
    return [cells for _, cells, fault in rows_of(text, **options) if fault in ("", FEWER_FIELDS, ROWS_IN_QUOTES)]


cells = st.text(st.sampled_from("a1 ,;\"'\n\r\té杯"), max_size=6)


@given(
    st.lists(st.lists(cells, min_size=3, max_size=3), max_size=8), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
)
def test_what_a_csv_writer_wrote_is_read_back(rows, quoting):
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows(rows)
    stripped = [[cell.lstrip(" ") for cell in row] for row in rows if "".join(row).strip()]
    assert [[cell.lstrip(" ") for cell in row] for row in readable(text.getvalue())] == stripped


def careless_table(rng):
    """Return a table joined by commas without any quoting, and the fields of each line."""
    words = ["mug", '5" pipe', 'pipe 12"', '"', '"big" mug', '"big"', 'the "big" one', '"open', "", "a,b", "12", "'"]
    rows = [[f"k{number}", rng.choice(words), rng.choice(words)] for number in range(rng.randrange(1, 12))]
    end = rng.choice(["\n", "\r\n", "\r"])
    return end.join(",".join(row) for row in rows) + rng.choice(["", end]), rows


@pytest.mark.parametrize("seed", range(8))
def test_no_row_of_a_careless_table_is_lost_or_wrong(seed):
    """Every line is a row with its own fields, or a fault says which lines it concerns."""
    rng = random.Random(seed)
    for _ in range(400):
        text, written = careless_table(rng)
        numbers = iter(range(len(written)))
        source = io.StringIO(text, newline="")
        rows = read_rows(source, ",", 3, lambda text=text: find_bare_quotes(io.StringIO(text, newline=""), ",", 3))
        for row in rows:
            lines = [next(numbers) for _ in range(row.num_lines)]
            assert row.first_line == lines[0] + 1
            if not row.fault:
                fields = written[lines[0]]
                unquoted = [field[1:-1] if field[:1] == field[-1:] == '"' != field else field for field in fields]
                assert len(lines) == 1 and row.cells == unquoted, (text, row)
        assert next(numbers, None) is None, text


def test_an_unclosed_quotation_mark_swallows_no_row():
    text = 'id,category,title\n1,"Home, Kitchen",12" pan\n2,Tools,"12 saw\n3,Tools,axe\n4,Tools,"ham"mer\n5,Tools,5"\n'
    assert rows_of(text) == [
        (1, ["id", "category", "title"], ""),
        (2, ["1", "Home, Kitchen", '12" pan'], ""),
        (3, [], BARE_QUOTE),
        (4, ["3", "Tools", "axe"], ""),
        (5, [], BARE_QUOTE),
        (6, ["5", "Tools", '5"'], ""),
    ]


def test_a_quoted_line_break_that_looks_like_a_row_depends_on_the_rest_of_the_file():
    swallowed = 'id,kind,title\n1,pipe,"5 inch\n2,pipe,6"\n'
    assert [fault for _, _, fault in rows_of(swallowed)] == ["", ROWS_IN_QUOTES]
    assert [(number, fault) for number, _, fault in rows_of(swallowed + '3,pan,12" steel\n')] == [
        (1, ""), (2, BARE_QUOTE), (3, ""), (4, "")
    ]  # fmt: skip
    proper = 'id,text,kind\n1,"Red mug\nCeramic",mug\n2,"Blue ""5 inch"" mug",mug\n'
    assert [fault for _, _, fault in rows_of(proper)] == ["", "", ""]


def test_a_row_of_another_width_is_rejected_or_noted():
    text = "a,b,c\n1,2,3,\n4,5,6,7\n8,9\n\n,,\n , ,,\n10,11,12\n"
    assert rows_of(text)[1:] == [
        (2, ["1", "2", "3"], EMPTY_FIELDS),
        (3, ["4", "5", "6", "7"], MORE_FIELDS),
        (4, ["8", "9", ""], FEWER_FIELDS),
        (8, ["10", "11", "12"], ""),
    ]
    assert rows_of('a,b,c\n1,"two\nlines",3,4\n5,6,7\n')[1:] == [
        (2, ["1", "two\nlines", "3", "4"], MORE_FIELDS),
        (3, ["5", "6", "7"], ""),
    ]


def test_a_cell_that_is_too_long_is_a_fault_of_its_row_alone():
    text = f'a,b,c\n1,"{"x" * 200_000}",2\n3,4,5\n'
    assert [(number, fault) for number, _, fault in rows_of(text)] == [(1, ""), (2, LONG_CELL), (3, "")]


def test_a_file_of_unclosed_quotation_marks_is_read_in_linear_time():
    """Each row reads on for at most the length of one cell, not to the end of the file."""
    text = "a,b,c\n" + "".join(f'{number},"open,x\n' for number in range(3000))
    assert [fault for _, _, fault in rows_of(text)] == [""] + [BARE_QUOTE] * 3000

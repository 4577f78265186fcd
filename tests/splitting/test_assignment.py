"""A frozen assignment wins for the products that it names, and new ones are assigned around it."""

from pathlib import Path

import polars as pl
import pytest
from test_folds import places, products_of
from typer.testing import CliRunner

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_table
from pipeline_lib.cli.main import app
from pipeline_lib.splitting.assignment import freeze, read_assignment
from pipeline_lib.splitting.folds import split_products
from pipeline_lib.splitting.groups import fold_groups

SCHEMA = {"product_id": pl.String, "split": pl.String, "fold": pl.Int64}


def assignment_of(folder, rows, name="v1.parquet", num_folds=3):
    """An assignment of rows (product, split, fold), written and read."""
    path = folder / name
    write_table(pl.DataFrame(rows, schema=SCHEMA, orient="row"), path)
    return read_assignment(path, num_folds)


def grown(count, extra=0):
    return products_of([(f"g{number}", "ab"[number % 2]) for number in range(count + extra)])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose last run assigned 100 products."""
    monkeypatch.chdir(tmp_path)
    folds, _ = split_products(grown(100), 3, 0.2, 7)
    paths.FOLDS.mkdir(parents=True)
    write_table(folds, paths.FOLDS / "folds.parquet")
    return folds


def test_a_frozen_split_stays_whatever_the_seed_the_growth_and_the_labels(project):
    assignment = read_assignment(freeze("v1"), 3)
    relabelled = grown(100, 40).with_columns(label=pl.col("label").replace({"a": "b"}))
    joined = grown(100, 40).with_columns(fold_group_id=pl.format("joined {}", pl.row_index() % 7))
    same = joined.with_columns(group_id="fold_group_id")
    for products in (grown(100), grown(100, 40), grown(100, 40).reverse(), relabelled, joined, same):
        frame, notes = split_products(products, 3, 0.2, 99, assignment)
        again = frame.filter(pl.col("product_id").is_in(project["product_id"])).sort("product_id")
        assert again.equals(project.sort("product_id"))
        assert notes[0].startswith(f"split.assignment: 100 products stay where it puts them, {len(products) - 100} are")
    places_of_new = places(grown(100, 40), split_products(grown(100, 40), 3, 0.2, 99, assignment)[0])
    assert sorted(places_of_new["place"].value_counts()["count"]) == [
        pytest.approx(wanted, abs=2) for wanted in (28, 37, 37, 37)
    ]


def test_products_that_are_gone_are_counted(project):
    _, notes = split_products(grown(100).slice(10), 3, 0.2, 7, read_assignment(freeze("v1"), 3))
    assert notes[0] == (
        "split.assignment: 90 products stay where it puts them, 0 are new, 10 of its products are no longer in the "
        "catalogue"
    )


def test_a_new_product_of_a_named_group_follows_it(tmp_path):
    products = products_of([("g", "a"), ("g", "a"), *[(f"h{number}", "a") for number in range(20)]])
    for place in (("test", None), ("train", 2), ("train", None)):
        frame, _ = split_products(products, 3, 0.2, 7, assignment_of(tmp_path, [("p0", *place)]))
        assert frame.rows()[:2] == [("p0", *place), ("p1", *place)]


def test_a_group_that_the_file_divides_stays_so_and_new_products_follow_their_own_part(tmp_path):
    """p0 .. p4 perhaps are one thing: p0, p1 in test, p2 in fold 2; p3 is the same thing as p2, p4 as no other."""
    products = products_of([(name, "a") for name in "uvwwx"] + [(f"h{number}", "a") for number in range(20)])
    products = products.with_columns(fold_group_id=pl.when(pl.row_index() < 5).then(pl.lit("u")).otherwise("group_id"))
    rows = [("p0", "test", None), ("p1", "test", None), ("p2", "train", 2)]
    frame, notes = split_products(products, 3, 0.2, 7, assignment_of(tmp_path, rows))
    assert frame.rows()[:5] == [*rows, ("p3", "train", 2), ("p4", "test", None)]
    assert notes[1:] == [
        "1 groups of products that look alike, have equal texts or share a composed query (5 products) are on both "
        "sides of a split that split.assignment gives: u"
    ]
    rows[1] = ("p1", "train", 2)
    tie, _ = split_products(products.head(2).vstack(products[4:]), 3, 0.2, 7, assignment_of(tmp_path, rows))
    assert tie.rows()[:3] == [*rows[:2], ("p4", "test", None)]


def test_a_divided_group_of_the_same_thing_stays_divided_and_the_note_has_a_way_out(tmp_path):
    products = products_of([("g", "a"), ("g", "a"), *[(f"h{number}", "a") for number in range(20)]])
    rows = [("p0", "test", None), ("p1", "train", 2)]
    frame, notes = split_products(products, 3, 0.2, 7, assignment_of(tmp_path, rows))
    assert frame.rows()[:2] == rows
    assert notes[1:] == [
        "1 groups of the same thing (2 products) are on both sides of a split that split.assignment gives, so that "
        "copies of evaluated products are in training: g; to keep them together, remove the rows of one side from its "
        "file, and they follow the other"
    ]


def test_an_edited_title_moves_no_product_of_a_frozen_split(project):
    texts = grown(100).with_columns(text=pl.format("thing {}", pl.row_index()))
    edited = texts.with_columns(text=pl.col("text").replace({"thing 3": "Thing 4", "thing 5": "thing 6"}))
    ids, _ = fold_groups(edited, by_text=True)
    assert ids.n_unique() == 98
    assert split_products(edited.with_columns(ids), 3, 0.2, 7, read_assignment(freeze("v1"), 3))[0].equals(project)


def test_it_overrules_the_columns_of_the_table_and_says_so(tmp_path):
    assignment = assignment_of(tmp_path, [("p0", "train", 1), ("p1", "train", 0), ("p3", "test", None)])
    folds = products_of([("a", "x", "train", 0), ("b", "x", "train", 0), ("c", "x", None, 1), ("d", "x", "train", 1)])
    frame, notes = split_products(folds, 3, 0.2, 7, assignment)
    assert frame.rows() == [("p0", "train", 1), ("p1", "train", 0), ("p2", "train", 1), ("p3", "test", None)]
    assert notes[1] == "split.assignment overrules the table's own split or fold of 2 products: p0, p3"
    val = products_of([("a", "x", "val"), ("b", "x", "val"), ("c", "x", "train"), ("d", "x", "test")])
    frame, notes = split_products(val, 3, 0.2, 7, assignment)
    assert frame.rows() == [("p0", "train", 1), ("p1", "train", 0), ("p2", "train", None), ("p3", "test", None)]
    test = products_of([(f"g{number}", "x", "test" if number < 9 else None) for number in range(30)])
    frame, notes = split_products(test, 3, 0.2, 7, assignment)
    assert frame.filter(pl.col("split") == "test")["product_id"].to_list() == [f"p{number}" for number in range(2, 9)]
    assert notes[1].endswith("of 2 products: p0, p1")


def test_a_csv_keeps_its_ids_and_an_empty_cell_is_no_fold(tmp_path):
    path = tmp_path / "by hand.csv"
    path.write_text("fold,product_id,split,why\n1,007,train,x\n,8,test,\n,9,train,y\n", encoding="utf-8")
    rows = read_assignment(path, 3).rows()
    assert rows == [("007", "train", 1, 1), ("8", "test", None, -1), ("9", "train", None, -2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("product_id,split\na,train\n", ": no column fold; it needs the columns product_id, split, fold"),
        ("product_id,split,fold\na,train,1\n,train,1\n", ", row 2, None: product_id is empty"),
        ("product_id,split,fold\na,val,1\n", ", row 1, 'a': split = 'val'; write train or test"),
        ("product_id,split,fold\na,train,one\n", ", row 1, 'a': fold = 'one' is no whole number; leave it empty"),
        (
            "product_id,split,fold\na,train,0\nb,train,3\nc,train,4\n",
            ", row 2, 'b': fold = 3 is out of range: split.num_folds gives folds 0 .. 2 (and 1 more such rows)",
        ),
        ("product_id,split,fold\na,train,-1\n", "fold = -1 is out of range"),
        ("product_id,split,fold\na,test,1\n", "fold = 1 of a test product; leave it empty"),
        (
            "product_id,split,fold\na,train,1\na,train,1\na,test,\n",
            ": product 'a' is in fold 1 and test; keep one of these rows",
        ),
        ("product_id,split,fold\na,train,1,2,3\n", "cannot be read as .csv"),
    ],
)
def test_what_does_not_fit_is_one_line_with_file_row_and_value(tmp_path, text, message):
    path = tmp_path / "split.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        read_assignment(path, 3)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_assignment_and_a_path_that_is_none():
    assert read_assignment(paths.NO_SPLIT, 3) is None
    for path in (Path("data/splits"), Path("data/splits/none.txt"), Path("data/splits/gone.csv")):
        with pytest.raises(ValueError, match="no .parquet or .csv file; `vitrine split freeze NAME` writes one"):
            read_assignment(path, 3)


def test_freeze_refuses_another_content_a_bad_name_and_a_project_without_folds(project):
    runner = CliRunner()
    first = runner.invoke(app, ["split", "freeze", "v1"])
    assert first.exception is None, first.exception
    assert first.output.splitlines() == [
        "data/splits/v1.parquet: the test split and the folds of the last run",
        "track it: dvc add data/splits/v1.parquet && git add data/splits/v1.parquet.dvc",
        "use it:   dvc exp run -S split.assignment=data/splits/v1.parquet",
    ]
    assert freeze("v1") == Path("data/splits/v1.parquet")
    write_table(project.with_columns(fold=pl.lit(None, pl.Int64)), paths.FOLDS / "folds.parquet")
    with pytest.raises(ValueError, match="v1.parquet exists already with other places; choose another name"):
        freeze("v1")
    for name in ("none", "../v1", ""):
        with pytest.raises(ValueError, match="is no name for an assignment"):
            freeze(name)
    (paths.FOLDS / "folds.parquet").unlink()
    with pytest.raises(ValueError, match="no such file; run `dvc repro folds`"):
        freeze("v2")


def test_a_csv_reads_its_three_columns_alone(tmp_path, monkeypatch):
    names = [f"c{number}" for number in range(5000)]
    lines = [["fold", *names, "split", "product_id"], ["1", *names, "train", "007"], ["", *names, "test", '"8,"']]
    path = tmp_path / "wide.csv"
    path.write_text("\ufeff" + "".join(",".join(line) + "\r\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr(pl, "read_csv", None)  # polars makes 2.6 GB of a million columns
    assert read_assignment(path, 3).rows() == [("007", "train", 1, 1), ("8,", "test", None, -1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column product_id"),
        (b"\x00\x01\xff\xfe", "cannot be read as .csv"),
        (b"product_id,split,fold\np1,train," + b"1" * 200_000, "cannot be read as .csv: field larger than"),
        (b"product_id,split,fold\np1\n", "row 1, 'p1': split = None; write train or test"),
        (b"product_id,split\np1,train\n", "no column fold; it needs"),
    ],
)
def test_a_csv_that_cannot_be_read_is_one_line(tmp_path, content, message):
    path = tmp_path / "cut.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_assignment(path, 3)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_parquet_file_that_is_cut_is_one_line(tmp_path, length):
    assignment_of(tmp_path, [("p1", "train", 1)])
    path = tmp_path / "v1.parquet"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"v1\.parquet: damaged, [^\n]+$"):
        read_assignment(path, 3)

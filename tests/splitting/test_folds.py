import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.splitting.folds import split_products, tabulate


def products_of(rows):
    """Return the products of rows (group, label, split, fold); missing values are None."""
    full = [(f"p{place}", *row, *[None] * (4 - len(row))) for place, row in enumerate(rows)]
    schema = {"product_id": pl.String, "group_id": pl.String, "label": pl.String, "split": pl.String, "fold": pl.Int64}
    return pl.DataFrame(full, schema=schema, orient="row").with_columns(fold_group_id="group_id")


def places(products, frame):
    joined = products.drop("split", "fold").join(frame, on="product_id", maintain_order="left")
    return joined.with_columns(
        pl.format("{}/{}", "split", pl.col("fold").cast(pl.String).fill_null("-")).alias("place")
    )


groups = st.lists(
    st.tuples(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=4)), min_size=30, max_size=90
)


@settings(max_examples=60)
@given(
    groups=groups, num_folds=st.integers(2, 5), test_fraction=st.sampled_from([0.0, 0.2, 0.5]), seed=st.integers(0, 99)
)
def test_every_group_is_in_exactly_one_place(groups, num_folds, test_fraction, seed):
    products = products_of([(f"g{place}", label) for place, (labels,) in enumerate(groups) for label in labels])
    try:
        frame, notes = split_products(products, num_folds, test_fraction, seed)
    except ValueError as error:
        assert "folds got a product" in str(error)
        return
    placed = places(products, frame)
    assert placed["product_id"].to_list() == products["product_id"].to_list()
    assert placed.group_by("group_id").agg(pl.col("place").n_unique())["place"].max() == 1
    assert set(frame.filter(pl.col("split") == "test")["fold"]) <= {None}
    assert not any("both sides" in note for note in notes)
    again, _ = split_products(products, num_folds, test_fraction, seed)
    assert frame.equals(again)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=40, max_size=120),
    num_folds=st.integers(2, 5),
    test_fraction=st.sampled_from([0.0, 0.2, 0.4]),
)
def test_each_class_is_within_its_largest_group_of_its_share(sizes, num_folds, test_fraction):
    rows = [(f"g{place}", label) for place, (label, size) in enumerate(sizes) for _ in range(size)]
    products = products_of(rows)
    placed = places(products, split_products(products, num_folds, test_fraction, 7)[0])
    for label in "abc":
        here = [size for other, size in sizes if other == label]
        if len(here) < num_folds + 1:
            continue
        part = placed.filter(pl.col("label") == label)
        for fold in range(num_folds):
            count = len(part.filter(pl.col("place") == f"train/{fold}"))
            assert abs(count - sum(here) * (1 - test_fraction) / num_folds) <= max(here)
        assert abs(len(part.filter(pl.col("split") == "test")) - sum(here) * test_fraction) <= max(here)


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows():
    rows = [(f"g{number // 2}", "ab"[number % 3 == 0]) for number in range(200)]
    products = products_of(rows)
    frame, _ = split_products(products, 3, 0.2, 7)
    reversed_rows, _ = split_products(products.reverse(), 3, 0.2, 7)
    assert frame.equals(reversed_rows.reverse())
    assert not frame.equals(split_products(products, 3, 0.2, 8)[0])


def test_small_classes_fill_the_folds_first_and_a_class_of_one_group_is_always_in_training():
    rows = [(f"g{number}", "big") for number in range(40)]
    rows += [("s0", "small"), ("s1", "small"), ("s2", "small"), ("one", "single"), ("one", "big")]
    products = products_of(rows)
    frame, notes = split_products(products, 3, 0.2, 7)
    placed = places(products, frame)
    assert sorted(placed.filter(pl.col("label") == "small")["place"]) == ["train/0", "train/1", "train/2"]
    assert placed.filter(pl.col("group_id") == "one")["place"].to_list() == ["train/-", "train/-"]
    assert notes == [
        "classes with a single group, always trained on and held out in no fold: single",
        "classes with fewer groups than there are bins (3 folds and test), so that some hold none: small (3)",
    ]
    table = tabulate(products, frame)
    assert table.columns == ["label", "test", "fold_0", "fold_1", "fold_2", "always_train"]
    assert table.filter(pl.col("label") == "small").row(0) == ("small", 0, 1, 1, 1, 0)
    assert table.select(pl.exclude("label")).sum_horizontal().sum() == len(products)


def test_products_without_labels_are_split_too():
    products = products_of([(f"g{number}",) for number in range(50)])
    frame, notes = split_products(products, 4, 0.2, 1)
    assert sorted(frame.group_by("split", "fold").len()["len"]) == [10] * 5
    assert notes == []


def test_a_fold_column_takes_precedence_and_test_rows_stay_test():
    products = products_of(
        [("a", "x", "train", 1), ("b", "x", "train", 4), ("c", "x", "test", 1), ("d", "x", "train", None)]
    )
    frame, _ = split_products(products, 3, 0.2, 7)
    assert frame.rows() == [("p0", "train", 1), ("p1", "train", 4), ("p2", "test", None), ("p3", "train", None)]


def test_the_val_rows_of_a_split_column_are_fold_0():
    products = products_of([("a", "x", "train"), ("b", "x", "val"), ("c", "x", "test")])
    frame, notes = split_products(products, 3, 0.2, 7)
    assert frame.rows() == [("p0", "train", None), ("p1", "train", 0), ("p2", "test", None)]
    assert notes == []


def test_without_val_rows_the_folds_come_from_the_train_rows():
    products = products_of([(f"g{number}", "x", "test" if number < 10 else "train") for number in range(40)])
    frame, _ = split_products(products, 3, 0.9, 7)
    assert frame.filter(pl.col("split") == "test")["product_id"].to_list() == [f"p{number}" for number in range(10)]
    assert sorted(frame.group_by("fold").len().drop_nulls()["len"]) == [10, 10, 10]


def test_a_given_split_that_divides_a_group_is_unchanged_and_the_leak_is_counted():
    products = products_of([("a", "x", "train"), ("a", "x", "test"), ("b", "x", "val"), ("b", "x", "train")])
    frame, notes = split_products(products, 3, 0.2, 7)
    assert frame["split"].to_list() == ["train", "test", "train", "train"]
    assert notes == [
        "2 groups of the same thing (4 products) are on both sides of a split that the table gives, so that copies of "
        "evaluated products are in training: a, b; to keep them together, correct its split or fold column"
    ]
    perhaps = products.with_columns(group_id="product_id")
    assert split_products(perhaps, 3, 0.2, 7)[1] == [
        "2 groups of products that look alike, have equal texts or share a composed query (4 products) are on both "
        "sides of a split that the table gives: a, b"
    ]


def test_a_class_with_all_products_in_one_given_fold_is_noted():
    _, notes = split_products(products_of([("a", "x", None, 0), ("b", "y", None, 1), ("c", "x", None, 1)]), 3, 0.2, 7)
    assert notes[-1] == (
        "classes with all products in one fold, so that its model cannot learn them and their products there are in no "
        "class figure: y"
    )
    assert notes[0] == "there are no test rows: figures are out-of-fold only"


def test_a_rare_class_in_a_group_of_another_class_is_not_noted_as_always_trained_on():
    """Each rare class has one product, in a group of two products of a frequent class, which decides where they go."""
    rows = [(f"g{number}", "big") for number in range(60) for _ in range(2)]
    rows += [(f"g{number}", f"rare{number}") for number in range(60)] + [("alone", "single")]
    products = products_of(rows)
    frame, notes = split_products(products, 3, 0.2, 7)
    placed = places(products, frame)
    in_test = set(placed.filter(pl.col("label").str.starts_with("rare"), pl.col("place") == "test/-")["label"])
    held_out = set(placed.filter(pl.col("label").str.starts_with("rare"))["label"]) - in_test
    assert len(in_test) == 12 and len(held_out) == 48
    assert placed.filter(pl.col("label") == "single")["place"].to_list() == ["train/-"]
    assert notes[0] == "classes with a single group, always trained on and held out in no fold: single"
    assert [note.split(": ")[0] for note in notes[1:]] == [
        "classes with all products in one fold, so that its model cannot learn them and their products there are in no "
        "class figure",
        "classes with all products in test, so that no model learns them and they are in no class figure",
    ]
    first = sorted(held_out)[:5], sorted(in_test)[:5]
    assert [note.split(": ")[1] for note in notes[1:]] == [
        f"{', '.join(first[0])} and 43 more", f"{', '.join(first[1])} and 7 more",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "num_folds", "message"),
    [
        ([("a", "x", "test")], 3, "every row of the table is test"),
        ([("a", "x"), ("b", "x")], 1, "split.num_folds = 1 leaves nothing to train fold 0 on"),
        ([("a", "x"), ("b", "x")], 3, "split.num_folds = 3, but only 2 folds got a product: 2 groups"),
        ([("a", "x"), ("b", "y")], 3, "only 0 folds got a product"),
        ([("a", "x", None, 2), ("b", "x", None, 2)], 3, "fold 2 contains every row that is not test"),
        ([("a", "x", "val", None), ("b", "x", "train", 0)], 3, "product 'p0': split is val, but its fold is empty"),
    ],
)
def test_a_table_that_cannot_be_split_raises(rows, num_folds, message):
    with pytest.raises(ValueError, match=message):
        split_products(products_of(rows), num_folds, 0.0, 7)

"""Product tables in CSV format."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
from typing import get_args

import polars as pl
import pytest
from written_tables import reader_params, table, touch

from pipeline_lib.catalogue.schema import RECORDS
from pipeline_lib.catalogue.strings import clean_text
from pipeline_lib.datasets.csv_table import join_texts, read_csv_table
from pipeline_lib.datasets.readers import READERS
from pipeline_lib.params.data import ReaderKind

SIX_ROWS = (
    "\ufeffid,title,description,categories,fold,split\r\n"
    '007,Red mug,"A red mug,\r\nwith ""dots""",Kitchen,0,train\r\n'
    "008,  Blue \u3000 hat ,,Clothes,1,train\r\n"
    "009,红色 杯子,红色 杯子，陶瓷,Kitchen,2,Validation\r\n"
    "010,,,Clothes,,test\r\n"
    "007,Again,,Kitchen,1,train\r\n"
    "011,Lamp,Lamps are bright,,,TEST\r\n"
)


def test_the_readers_are_the_kinds_that_params_allow():
    assert set(READERS) == set(get_args(ReaderKind))


def test_six_rows_with_a_byte_order_mark_line_breaks_and_a_duplicate(reader_params, table, touch):
    table(SIX_ROWS)
    touch("007.jpg", "008_2.png", "008_10.JPG", "008_1.webp", "009.jpeg", "010.txt", "0070.jpg", "011_a.jpg")
    records = READERS["csv_table"](reader_params())
    assert records.products.schema == RECORDS
    assert (records.table, records.num_rows, records.queries) == ("products.csv", 6, None)
    assert records.products.rows() == [
        (2, "007", ["images/007.jpg"], 'Red mug A red mug, with "dots"', "Kitchen", None, "train", 0),
        (
            3,
            "008",
            ["images/008_1.webp", "images/008_2.png", "images/008_10.JPG"],
            "Blue hat",
            "Clothes",
            None,
            "train",
            1,
        ),
        (4, "009", ["images/009.jpeg"], "红色 杯子，陶瓷", "Kitchen", None, "val", 2),
        (5, "010", [], "", "Clothes", None, "test", None),
        (7, "011", ["images/011_a.jpg"], "Lamp Lamps are bright", None, None, "test", None),
    ]
    assert records.rejects.rows() == [(6, "007", "products.csv", "duplicate id", "007", "rejected")]


def test_bad_ids_are_rejected_with_their_row(reader_params, table, touch):
    table("id,text\n,a\n../x,b\n/etc/passwd,c\na/../../b,d\n  ,e\nok,f\nok,g\n")
    touch("ok.jpg")
    records = read_csv_table(reader_params())
    assert records.products["product_id"].to_list() == ["ok"]
    assert records.rejects.sort("row").select("row", "reason", "value", "action").rows() == [
        (2, "empty id", "", "rejected"),
        (3, "unsafe id", "../x", "rejected"),
        (4, "unsafe id", "/etc/passwd", "rejected"),
        (5, "unsafe id", "a/../../b", "rejected"),
        (6, "empty id", "", "rejected"),
        (8, "duplicate id", "ok", "rejected"),
    ]


def test_an_image_column_preserves_order_and_bare_names_are_found_in_the_folder(reader_params, table, touch):
    touch("a.jpg")
    table("id,text,image\n1,x,b/2.jpg | b/1.jpg;b/2.jpg\n2,x,a.jpg\n3,x,\n4,x,b\\c.jpg\n")
    assert read_csv_table(reader_params()).products["media"].to_list() == [
        ["b/2.jpg", "b/1.jpg"],
        ["images/a.jpg"],
        [],
        ["b/c.jpg"],
    ]


def test_images_may_be_in_the_root_itself(reader_params, table, touch):
    table("id,text\n1,x\n")
    touch("1.jpg", folder=".")
    assert read_csv_table(reader_params(image_folder=".")).products["media"].to_list() == [["1.jpg"]]


def test_named_columns_are_read_and_unlabelled_rows_remain(reader_params, table):
    table("sku,name,more,categories,label,brand\n1,Mug,Nice,Kitchen > Mugs,mug,acme\n2,Hat,,,,\n")
    columns = {"label": "label", "text": ["more", "name"], "group": "brand"}
    products = read_csv_table(reader_params(columns)).products
    assert products.select("product_id", "text", "label", "group").rows() == [
        ("1", "Nice Mug", "mug", "acme"),
        ("2", "Hat", None, None),
    ]


def test_a_table_without_splits_and_folds_has_none(reader_params, table):
    """Otherwise the folds stage takes its products for a split of the table, without any test product."""
    table("id,text,image\n1,a,a.jpg\n2,b,b.jpg\n")
    products = read_csv_table(reader_params()).products
    assert products.select("split", "fold").rows() == [(None, None)] * 2


def test_folds_written_by_pandas_as_floats_are_read(reader_params, table):
    table("id,text,fold\n1,x,0.0\n2,x,1.0\n3,x,\n")
    assert read_csv_table(reader_params()).products["fold"].to_list() == [0, 1, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,text,split\n1,a,train\n2,b,tset\n",
            r"products.csv: row 3: split = 'tset'; write train, val \(valid, validation, dev\) or test",
        ),
        ("id,text,split\n1,a,train\n2,b,\n", r"row 3: split = ''; write train"),
        ("id,text,fold\n1,a,0\n2,b,one\n", r"row 3: fold = 'one' is not a whole number >= 0"),
        ("id,text,fold\n1,a,-1\n", r"row 2: fold = '-1' is not"),
        ("id,text,fold\n1,a,0.5\n", r"row 2: fold = '0.5' is not"),
        ("id,text,fold\n1,a,nan\n", r"row 2: fold = 'nan' is not"),
    ],
)
def test_a_wrong_split_or_fold_raises(reader_params, table, content, message):
    table(content)
    with pytest.raises(ValueError, match=message):
        read_csv_table(reader_params())


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("Mug", "Mug"), "Mug"),
        (("Mug", "Mug, red"), "Mug, red"),
        (("Apple", "Apples are red"), "Apple Apples are red"),
        (("杯子", "杯子很好"), "杯子很好"),
        (("Mug", "A mug"), "Mug A mug"),
        (("", "only"), "only"),
        (("only", ""), "only"),
        (("a\n b", "\tc\u00a0d"), "a b c d"),
        (("", ""), ""),
    ],
)
def test_texts_are_joined_without_repeating_the_title(parts, joined):
    frame = pl.DataFrame({"one": [parts[0]], "two": [parts[1]]})
    assert (
        frame.select(join_texts([clean_text(pl.col("one")), clean_text(pl.col("two"))]).alias("text")).item() == joined
    )


def test_inch_marks_swallow_no_row(reader_params, table):
    table('id,category,title\n1,"Home, Kitchen",12" pan\n2,Tools,12" saw\n3,Tools,"axe\n4,Tools,hammer\n')
    records = read_csv_table(reader_params({"label": "category"}))
    assert records.products.select("row", "product_id", "text").rows() == [
        (2, "1", '12" pan'),
        (3, "2", '12" saw'),
        (5, "4", "hammer"),
    ]
    assert (records.num_rows, records.rejects.select("row", "action").rows()) == (4, [(4, "rejected")])


def test_labels_ids_and_groups_are_cleaned(reader_params, table):
    cells = ["Mug", "Mug\u200b", "\ufeffMug", "Home & Garden", "Home  & Garden", "Home\u00a0& Garden", "", "\u200b"]
    table("id,label,title,group\n" + "".join(f"{n}.0,{cell},t,{n % 2}.0\n" for n, cell in enumerate(cells)))
    products = read_csv_table(reader_params()).products
    assert products["label"].to_list() == ["Mug"] * 3 + ["Home & Garden"] * 3 + [None, None]
    assert products["product_id"].to_list() == [str(n) for n in range(8)]
    assert products["group"].to_list() == ["0", "1"] * 4


def test_na_is_a_label_and_an_empty_cell_is_none(reader_params, table):
    table("id,label,title\n1,NA,x\n2,,y\n3,nan,z\n")
    assert read_csv_table(reader_params()).products["label"].to_list() == ["NA", None, "nan"]


def test_other_names_of_the_validation_split_are_read(reader_params, table):
    table("id,title,split\n1,a,Training\n2,b,valid\n3,c,dev\n4,d,validation\n5,e,testing\n")
    assert read_csv_table(reader_params()).products["split"].to_list() == ["train", "val", "val", "val", "test"]


def test_an_id_that_excel_has_rounded_is_rejected(reader_params, table):
    table("id,title\n8.80123E+12,a\n12E5,b\n")
    records = read_csv_table(reader_params())
    assert records.products["product_id"].to_list() == ["12E5"]
    assert records.rejects["reason"].to_list() == ["id in scientific notation, format its column as text"]


def test_clips_are_read_from_the_column_that_the_params_name_alone(tmp_path, table, touch, reader_params):
    touch("1.jpg", "2.jpg", "1.mp4", "stray.mp4")
    touch("two.webm", "3.mov", folder="videos")
    table(
        "id,title,image,video\n1,mug,1.jpg,1.mp4\n2,hat,2.jpg,videos/two\n3,bag,,videos/3.mov\n4,cup,,\n5,box,,gone\n"
    )
    named = read_csv_table(reader_params({"video": "video"}))
    assert named.products["media"].to_list() == [
        ["images/1.jpg", "images/1.mp4"], ["images/2.jpg", "videos/two.webm"], ["videos/3.mov"], [], ["gone.mp4"],
    ]  # fmt: skip
    assert named.columns["video"] == "video"
    plain = read_csv_table(reader_params())
    assert plain.products["media"].to_list()[:3] == [["images/1.jpg"], ["images/2.jpg"], []]
    assert "video" in plain.ignored


def test_a_table_of_clips_alone_takes_no_photos_by_id(tmp_path, table, touch, reader_params):
    touch("1.jpg")
    touch("a.mp4", folder="videos")
    table("id,title,clip\n1,mug,a\n")
    assert read_csv_table(reader_params({"video": "clip"})).products["media"].to_list() == [["videos/a.mp4"]]

"""Captions in a CSV file: the rows of an image become one product and several queries."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import pytest
from written_muge import jpeg
from written_tables import reader_params, table

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.datasets.captions_csv import read_captions_csv

SIX_ROWS = (
    "image,caption,split\n"
    'a.jpg,"A dog, running .",train\n'
    "b.jpg,A cat .,val\n"
    "a.jpg,A dog runs,train\n"
    "a.jpg,,train\n"
    "b.jpg,A cat sits,Validation\n"
    "c.jpg,A dog runs,test\n"
)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "images").mkdir()
    for number, name in enumerate("abc"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(jpeg(number))


def test_the_rows_of_an_image_are_one_product(table, photos, reader_params):
    table(SIX_ROWS)
    records = read_captions_csv(reader_params())
    assert records.work(2) == "3 photos of products.csv, checked by 2 processes"
    assert records.products.select("row", "product_id", "text", "split").rows() == [
        (2, "a.jpg", "A dog, running .", "train"),
        (3, "b.jpg", "A cat .", "val"),
        (7, "c.jpg", "A dog runs", "test"),
    ]
    assert records.queries.select("query_id", "text").rows() == [
        ("a.jpg#0", "A dog, running ."),
        ("a.jpg#1", "A dog runs"),
        ("b.jpg#0", "A cat ."),
        ("b.jpg#1", "A cat sits"),
        ("c.jpg#0", "A dog runs"),  # equal to a caption of a, but each has its own image
    ]
    assert records.rejects.select("row", "reason", "action").rows() == [(2, "empty caption", "query dropped")]
    catalogue = build_catalogue(records, reader_params(), 1)
    assert catalogue.media["media"].to_list() == [["images/a.jpg"], ["images/b.jpg"], ["images/c.jpg"]]


def test_without_a_split_column_no_split_is_set(table, photos, reader_params):
    table("Filename,Text\na.jpg,one\nb.jpg,two\n")
    records = read_captions_csv(reader_params())
    assert records.products["split"].null_count() == 2 and records.queries["split"].null_count() == 2


def test_a_row_without_an_image_is_counted(table, photos, reader_params):
    table("image,caption\n,lost\na.jpg,one\n")
    records = read_captions_csv(reader_params())
    assert records.num_rows == 2
    assert records.rejects.select("row", "reason", "value", "action").rows() == [
        (2, "empty image name", "lost", "rejected")
    ]


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            "image,words\na.jpg,one\n",
            {},
            "no column 'caption or text or comment or sentence' for data.columns.text; columns found: image, words",
        ),
        ("image,\na.jpg,one\n", {}, "no column 'caption or text or comment or sentence' for data.columns.text"),
        ("image,caption\na.jpg,one\n", {"image": "photo"}, "no column 'photo' for data.columns.image"),
        ("image,caption\na.jpg,one\n", {"text": ["a", "b"]}, "a caption is one column"),
        ("image,caption,split\na.jpg,one,tset\n", {}, "row 2: split = 'tset'; write train, val"),
        ("image,caption,split\na.jpg,one,\n", {}, "row 2: split = ''; write train, val"),
        (
            "image,caption,split\na.jpg,1,train\na.jpg,2,test\n",
            {},
            "row 3: split = 'test', but an earlier row has a.jpg",
        ),
    ],
)
def test_a_bad_table_is_one_line(table, reader_params, content, columns, message):
    path = table(content)
    with pytest.raises(ValueError) as caught:
        read_captions_csv(reader_params(columns))
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_equal_names_in_two_folders_are_two_products(table, tmp_path, reader_params):
    for number, name in enumerate(["bags/1.jpg", "shoes/1.jpg", "shoes/1.png"]):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(jpeg(number))
    table("image,caption\nbags/1.jpg,a bag\nshoes/1.jpg,a shoe\nshoes/1.png,b shoe\n./shoes//1.jpg,c\nshoes\\1.jpg,x\n")
    catalogue = build_catalogue(read_captions_csv(reader_params()), reader_params(), 1)
    assert catalogue.products.select("product_id", "text").rows() == [
        ("bags/1.jpg", "a bag"),
        ("shoes/1.jpg", "a shoe"),
        ("shoes/1.png", "b shoe"),
    ]
    assert [cell[0] for cell in catalogue.media["media"]] == [f"images/{i}" for i in catalogue.products["product_id"]]
    assert len(catalogue.queries) == 5 and catalogue.rejects.is_empty()


def test_a_name_that_macos_has_written_is_found(table, tmp_path, reader_params):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/Mu\u0308sli.jpg").write_bytes(jpeg(1))
    table("image| caption\nM\u00fcsli.jpg| a bowl\n")
    records = read_captions_csv(reader_params())
    assert records.products.select("product_id", "media").rows() == [("M\u00fcsli.jpg", ["images/Mu\u0308sli.jpg"])]


def test_columns_are_named_and_rows_that_cannot_be_read_are_rejected(table, photos, reader_params):
    table("image_name,comment_number,comment,split\na.jpg,0,one,train\nb.jpg,1,two,val,x\n")
    records = read_captions_csv(reader_params())
    assert records.columns == {"image": "image_name", "text": "comment", "split": "split"}
    assert records.ignored == ("comment_number",)
    assert (records.num_rows, len(records.products), records.rejects["row"].to_list()) == (2, 1, [3])


def test_the_rows_of_a_clip_are_one_product_whatever_its_name_leaves_out(tmp_path, table, reader_params):
    (tmp_path / "videos").mkdir()
    for name in ("a.webm", "b.mp4", "b.gif", "video7.MP4"):
        (tmp_path / "videos" / name).touch()
    table("video,caption\na,one\nb.gif,two\nvideo7,three\na,four\ngone,five\n,six\n")
    records = read_captions_csv(reader_params())
    assert records.products.select("product_id", "media").rows() == [
        ("a", ["videos/a.webm"]),
        ("b.gif", ["videos/b.gif"]),
        ("video7", ["videos/video7.MP4"]),
        ("gone", ["videos/gone.mp4"]),  # the catalogue reports that it is missing
    ]
    assert records.queries["query_id"].to_list() == ["a#0", "a#1", "b.gif#0", "video7#0", "gone#0"]
    assert records.rejects.select("row", "reason", "value").rows() == [(7, "empty video name", "six")]
    assert records.work(2) == "5 clips of products.csv, checked by the stage frames"
    assert records.columns == {"video": "video", "text": "caption"} and records.slices.is_empty()


@pytest.mark.parametrize(
    ("columns", "media", "ignored"),
    [
        ({}, "images/a.jpg", "video"),
        ({"image": "image"}, "images/a.jpg", "video"),
        ({"video": "video"}, "images/a.mp4", "image"),
    ],
)
def test_a_table_with_both_columns_is_one_of_images_unless_the_params_name_the_clips(
    tmp_path, table, photos, reader_params, columns, media, ignored
):
    table("image,video,caption\na.jpg,a.mp4,one\n")
    records = read_captions_csv(reader_params(columns))
    assert records.products["media"][0].to_list() == [media] and ignored in records.ignored


def test_images_and_clips_cannot_both_be_named(table, reader_params):
    table("image,video,caption\na.jpg,a.mp4,one\n")
    with pytest.raises(ValueError, match=r"of an image or of a clip; name data.columns.image or .video"):
        read_captions_csv(reader_params({"image": "image", "video": "video"}))


def test_the_slices_of_a_caption_are_those_of_its_query_and_go_with_it(tmp_path, table, photos, reader_params):
    table(
        "image,caption,slice\na.jpg,one,time|en\nb.jpg,two,still\na.jpg,three,\na.jpg,,time\nb.jpg,four, still || zh \n"
        "gone.jpg,five,time\nb.jpg,six,still|still\n"
    )
    data = reader_params(max_reject_fraction=0.5)
    records = read_captions_csv(data)
    rows = [("a.jpg#0", "time"), ("a.jpg#0", "en"), ("b.jpg#0", "still"), ("b.jpg#1", "still"), ("b.jpg#1", "zh")]
    rows += [("b.jpg#2", "still")]
    assert records.slices.rows() == [*rows, ("gone.jpg#0", "time")]
    assert records.columns["slice"] == "slice"
    # The query of a rejected product is dropped, and its slices with it.
    assert build_catalogue(records, data, 1).query_slices.rows() == rows


def test_the_subset_of_a_caption_is_that_of_its_query_without_rejected_products(table, photos, reader_params):
    table(
        "image,caption,subset\na.jpg,one, ./b.jpg ||gone.jpg|b.jpg\nb.jpg,two,\na.jpg,three,b.jpg\na.jpg,,b.jpg\n"
        "gone.jpg,five,a.jpg\n"
    )
    data = reader_params(max_reject_fraction=0.5)
    records = read_captions_csv(data)
    named = {"a.jpg#0": ["b.jpg", "gone.jpg"], "a.jpg#1": ["b.jpg"], "b.jpg#0": [], "gone.jpg#0": ["a.jpg"]}
    assert dict(records.queries.select("query_id", "subset").rows()) == named
    assert records.columns["subset"] == "subset"
    queries = build_catalogue(records, data, 1).queries
    assert dict(queries.select("query_id", "subset").rows()) == {
        "a.jpg#0": ["b.jpg"],
        "a.jpg#1": ["b.jpg"],
        "b.jpg#0": [],
    }


def test_a_subset_with_a_name_of_no_row_stops_the_reader(table, photos, reader_params):
    table("image,caption,subset\na.jpg,one,\nb.jpg,two,a.jpg|a.png\n")
    with pytest.raises(ValueError, match=r"products.csv: row 3: subset names 'a.png', which is the image of no row"):
        read_captions_csv(reader_params())

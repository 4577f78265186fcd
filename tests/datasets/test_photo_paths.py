"""Photos of products: cells of an image column, names of files, URLs."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import os

import pytest
from written_tables import reader_params, table, touch

from pipeline_lib.datasets.csv_table import read_csv_table
from pipeline_lib.datasets.photo_paths import CellReader, photos_by_id

NAMES = ["a.jpg", "b.jpg", "a;b.jpg", "a|c.jpg", "a, b.jpg", "Mu\u0308sli.jpg", "x\u200b.jpg"]


@pytest.mark.parametrize(
    ("cell", "paths"),
    [
        ("a.jpg", ["images/a.jpg"]),
        ("images/a.jpg", ["images/a.jpg"]),
        ("images\\a.jpg", ["images/a.jpg"]),
        ("/a.jpg", ["images/a.jpg"]),
        ("a;b.jpg", ["images/a;b.jpg"]),  # one file of that name
        ("a|c.jpg", ["images/a|c.jpg"]),
        ("a, b.jpg", ["images/a, b.jpg"]),
        ("a.jpg;b.jpg", ["images/a.jpg", "images/b.jpg"]),
        ("b.jpg, a.jpg", ["images/b.jpg", "images/a.jpg"]),
        ("b.jpg|a.jpg, b.jpg", ["images/b.jpg", "images/a.jpg"]),
        ("a.jpg;gone.jpg", ["images/a.jpg", "gone.jpg"]),
        ("a.jpg, gone.jpg", ["images/a.jpg", "gone.jpg"]),
        ("gone, in one.jpg", ["gone, in one.jpg"]),
        ("M\u00fcsli.jpg", ["images/Mu\u0308sli.jpg"]),  # written by macOS, typed on Windows
        ("x.jpg", ["images/x\u200b.jpg"]),
        ("/etc/passwd", ["/etc/passwd"]),  # the check of photos refuses it
        ("", []),
        ("", []),
        (" ; ", []),
    ],
)
def test_a_cell_is_looked_up_whole_before_it_is_cut(tmp_path, cell, paths):
    assert CellReader(tmp_path, "images/", NAMES).paths(cell) == paths


def test_files_outside_the_image_folder_are_found_from_the_root(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a;1.jpg").touch()
    assert CellReader(tmp_path, "", []).paths("more/a;1.jpg") == ["more/a;1.jpg"]
    assert CellReader(tmp_path, "images/", []).paths("x" * 5000 + ".jpg") == ["x" * 5000 + ".jpg"]


def test_names_belong_to_ids_that_are_equal_when_cleaned():
    assert photos_by_id(["Mu\u0308sli_1.jpg", "M\u00fcsli.jpg", "a\u200b.jpg"], ["M\u00fcsli", "a"]) == {
        "M\u00fcsli": ["Mu\u0308sli_1.jpg", "M\u00fcsli.jpg"],
        "a": ["a\u200b.jpg"],
    }


def test_a_column_of_urls_is_one_line_or_photos_by_id(reader_params, table, touch):
    path = table("id,title,image\n1,x,https://cdn.example.com/s/1.jpg?v=1\n2,y,//cdn.example.com/2.jpg\n")
    with pytest.raises(
        ValueError, match=r"row 2: image = 'https://cdn.*' is a URL, and nothing is downloaded; "
    ) as caught:
        read_csv_table(reader_params())
    assert str(caught.value).startswith(f"{path}: ") and "named by id (1.jpg, 1_1.jpg and so on)" in str(caught.value)
    touch("1.jpg")
    records = read_csv_table(reader_params())
    assert records.products["media"].to_list() == [["images/1.jpg"], []]
    assert records.rejects.select("row", "product_id", "reason", "value", "action").rows() == [
        (3, "2", "image is a URL, nothing is downloaded", "//cdn.example.com/2.jpg", "photo dropped")
    ]


def test_a_file_name_that_is_not_utf8_is_a_reject_with_the_name_escaped(reader_params, table, touch):
    touch("p1.jpg", "p2.jpg")
    touch(os.fsdecode(b"p1_" + "主图".encode("gbk") + b".jpg"))
    table("id,title\np1,x\np2,y\n")
    records = read_csv_table(reader_params())
    assert records.products["media"].to_list() == [["images/p1.jpg"], ["images/p2.jpg"]]
    assert records.rejects.select("product_id", "file", "reason", "action").rows() == [
        ("p1", "images/p1_\\xd6\\xf7\\xcd\\xbc.jpg", "file name is not UTF-8", "photo dropped")
    ]

"""Exports of common shops, recognised by their headings, and what was chosen."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import pytest
from written_tables import reader_params, table, touch

from pipeline_lib.datasets.columns import resolve_columns
from pipeline_lib.datasets.csv_table import read_csv_table
from pipeline_lib.datasets.exports import EXPORTS, find_export, heading
from pipeline_lib.params.data import ColumnParams

NONE = ColumnParams(
    id=None, label=None, text=None, image=None, video=None, group=None, fold=None, split=None, attributes=None
)
# Some headings of each kind: name, headings, id, label, texts, images, group.
HEADERS = [
    (
        "Shopify", "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Variant SKU,Image Src,Image Position",
        "Handle", "Type", ("Title", "Body (HTML)"), ("Image Src",), None,
    ),
    (
        "Shopify (URL handle)", "Title,URL handle,Description,Vendor,Product category,Type,Product image URL",
        "URL handle", "Type", ("Title", "Description"), ("Product image URL",), None,
    ),
    (
        "WooCommerce", "ID,Type,SKU,Name,Published,Short description,Description,Categories,Tags,Images,Parent",
        "ID", "Categories", ("Name", "Short description", "Description"), ("Images",), None,
    ),
    (
        "Magento", "sku,store_view_code,attribute_set_code,product_type,categories,name,description,base_image,"
        "additional_images", "sku", "categories", ("name", "description"), ("base_image", "additional_images"), None,
    ),
    (
        "Amazon listings report", "item-name,item-description,listing-id,seller-sku,price,image-url",
        "seller-sku", None, ("item-name", "item-description"), ("image-url",), None,
    ),
    (
        "Google Merchant feed", "id,title,description,link,image_link,product_type,item_group_id,price",
        "id", "product_type", ("title", "description"), ("image_link",), "item_group_id",
    ),
    (
        "H&M articles", "article_id,product_code,prod_name,product_type_name,detail_desc",
        "article_id", "product_type_name", ("prod_name", "detail_desc"), (), "product_code",
    ),
    (
        "Fashion Product Images", "id,gender,masterCategory,articleType,baseColour,productDisplayName",
        "id", "articleType", ("productDisplayName",), (), None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("export", "header", "product_id", "label", "text", "image", "group"), HEADERS)
def test_an_export_is_known_by_its_headings(export, header, product_id, label, text, image, group):
    names = header.split(",")
    columns = resolve_columns("t.csv", names, NONE)
    assert (columns.export, columns.id, columns.label) == (export, product_id, label)
    assert (columns.text, columns.image, columns.group) == (text, image, group)
    assert set(columns.ignored) == set(names) - set(columns.used())
    assert columns.choice()["known as"] == export and columns.choice()["text"] == " + ".join(text)


def test_every_export_is_tested():
    assert {name for name, *_ in HEADERS} == set(EXPORTS)


def test_every_exports_marks_are_headings_and_none_hides_another():
    for name, export in EXPORTS.items():
        assert find_export(export.marks) == name
        assert all(heading(mark) == mark for mark in export.marks)


def test_params_win_over_an_export_and_a_plain_table_is_none():
    names = next(names for export, names, *_ in HEADERS if export == "WooCommerce").split(",")
    columns = resolve_columns("t.csv", names, NONE.model_copy(update={"text": "Name", "label": "Tags", "id": "SKU"}))
    assert (columns.id, columns.text, columns.label, columns.image) == ("SKU", ("Name",), "Tags", ("Images",))
    assert resolve_columns("t.csv", ["id", "title", "image"], NONE).export is None


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("id,name,description", ("name", "description")),
        ("id,product name", ("product name",)),
        ("id,name,text", ("text",)),
        ("id,name,title,description", ("title", "description")),
    ],
)
def test_a_name_is_the_title_where_there_is_none(header, text):
    assert resolve_columns("t.csv", header.split(","), NONE).text == text


def test_shopifys_rows_of_one_handle_are_one_product_with_all_photos(reader_params, table, touch):
    touch("a1.jpg", "a2.jpg", "a3.jpg", "b1.jpg")
    table(
        "Handle,Title,Body (HTML),Type,Image Src\n"
        "a,Red mug,<p>Dishwasher&nbsp;safe.<br>300 ml</p>,Mugs,a1.jpg\n"
        "a,,,,a3.jpg\n"
        "b,Hat,,Hats,b1.jpg\n"
        "a,,,,a2.jpg\n"
        "a,,,,\n"
        "b,Another hat,,Hats,b1.jpg\n"
    )
    records = read_csv_table(reader_params())
    assert records.products.select("product_id", "text", "label", "media").rows() == [
        ("a", "Red mug Dishwasher safe. 300 ml", "Mugs", ["images/a1.jpg", "images/a3.jpg", "images/a2.jpg"]),
        ("b", "Hat", "Hats", ["images/b1.jpg"]),
    ]
    assert records.rejects.select("row", "reason").rows() == [(7, "duplicate id")]
    assert records.num_rows == 3 and records.columns["image"] == "Image Src" and records.ignored == ()
    assert records.work(2) == "3 products of products.csv, photos checked by 2 processes"


def test_magentos_photos_begin_with_a_slash_and_are_in_two_columns(reader_params, table, touch):
    touch("mug.jpg", "side.jpg", "top.jpg")
    table(
        "sku,attribute_set_code,product_type,name,base_image,additional_images\n"
        's1,Default,simple,Mug,/mug.jpg,"/side.jpg,/top.jpg"\n'
    )
    assert read_csv_table(reader_params()).products["media"].to_list() == [
        ["images/mug.jpg", "images/side.jpg", "images/top.jpg"]
    ]

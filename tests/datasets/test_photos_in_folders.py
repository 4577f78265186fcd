"""Photos in sub-folders and of many formats, as the reader of tables and the catalogue see them."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
from pathlib import Path

import pytest
from drawn_files import encoded, gradient
from PIL import Image
from written_tables import reader_params, table

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.datasets.csv_table import read_csv_table


@pytest.fixture
def files(tmp_path: Path):
    """Write picture files into folders below the root; the format is that of the ending unless given."""

    def write(*names: str, kind: str | None = None) -> None:
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            gradient(40 + number, 30).save(path, kind)

    return write


def media_of(data) -> dict[str, list[str]]:
    return dict(read_csv_table(data).products.select("product_id", "media").rows())


def test_photos_by_id_are_found_in_sub_folders_and_in_every_format(reader_params, table, files):
    table("id,label,title\n0108,a,one\n0110,b,two\nc,a,three\nd,b,four\n")
    files("images/010/0108.jpg", "images/011/x/0110_2.GIF", "images/011/x/0110_1.Tiff", "images/c.bmp", "images/d.JFIF")
    data = reader_params()
    assert media_of(data) == {
        "0108": ["images/010/0108.jpg"],
        "0110": ["images/011/x/0110_1.Tiff", "images/011/x/0110_2.GIF"],
        "c": ["images/c.bmp"],
        "d": ["images/d.JFIF"],
    }
    catalogue = build_catalogue(read_csv_table(data), data, 1)
    assert (len(catalogue.products), len(catalogue.rejects)) == (4, 0)


def test_a_file_is_read_by_its_content_whatever_its_ending(reader_params, table, files):
    table("id,label,title\na,x,one\nb,y,two\nc,x,three\n")
    for name, kind in (("a.jpg", "AVIF"), ("b.png", "WEBP"), ("c", "TIFF")):
        files(f"images/{name}", kind=kind)
    data = reader_params()
    assert len(build_catalogue(read_csv_table(data), data, 1).products) == 3


def test_photos_of_one_name_in_several_folders_are_all_used_with_a_note(reader_params, table, files):
    table("id,label,title\n1,a,one\n2,b,two\n")
    files("images/front/1.jpg", "images/back/1.jpg", "images/front/2.jpg", "images/back/2_b.jpg")
    records = read_csv_table(reader_params())
    assert dict(records.products.select("product_id", "media").rows())["1"] == [
        "images/back/1.jpg",
        "images/front/1.jpg",
    ]
    assert records.rejects.select("row", "product_id", "reason", "value", "action").rows() == [
        (2, "1", "photos of one name in several folders, all used", "back/1.jpg, front/1.jpg", "kept")
    ]


def test_an_id_with_its_folder_has_only_the_photos_of_that_folder(reader_params, table, files):
    table("id,label,title\nshoes/1,a,one\nbags/1,b,two\n")
    files("images/shoes/1.jpg", "images/bags/1.jpg", "images/bags/1_2.jpg")
    assert media_of(reader_params()) == {
        "shoes/1": ["images/shoes/1.jpg"],
        "bags/1": ["images/bags/1.jpg", "images/bags/1_2.jpg"],
    }


def test_a_cell_without_a_folder_names_the_only_file_of_that_name(reader_params, table, files):
    table("id,label,title,image\n1,a,one,x.jpg\n2,b,two,y.jpg\n3,a,three,images/b/z.JPG\n4,b,four,z.jpg\n")
    files("images/a/x.JPG", "images/a/y.jpg", "images/b/y.jpg", "images/b/z.jpg", "images/z.jpg")
    # y.jpg is in two folders, so the cell stays as written and becomes a reject.
    assert media_of(reader_params()) == {
        "1": ["images/a/x.JPG"],
        "2": ["y.jpg"],
        "3": ["images/b/z.jpg"],
        "4": ["images/z.jpg"],
    }


def test_odd_photos_are_used_with_a_note(reader_params, table, tmp_path):
    table("id,label,title\nopen,a,one\nhalf,b,two\nnote,a,three\nplain,b,four\n")
    (tmp_path / "images").mkdir()
    whole = encoded(gradient(90, 60), "JPEG")
    (tmp_path / "images/open.jpg").write_bytes(whole[:-2])
    (tmp_path / "images/half.jpg").write_bytes(whole[:-40])
    (tmp_path / "images/note.png").write_bytes(encoded(Image.new("RGB", (30, 30)), "PNG", icc_profile=b"no profile"))
    (tmp_path / "images/plain.png").write_bytes(encoded(gradient(), "PNG"))
    data = reader_params(max_reject_fraction=0.5)
    catalogue = build_catalogue(read_csv_table(data), data, 1)
    assert catalogue.products["product_id"].to_list() == ["open", "note", "plain"]
    assert catalogue.rejects.select("product_id", "reason", "action").rows() == [
        ("open", "no end mark", "kept"),
        ("half", "truncated image", "rejected"),
        ("note", "colour profile not used", "kept"),
    ]

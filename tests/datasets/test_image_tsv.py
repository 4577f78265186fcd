"""Images in a tsv file."""

import tracemalloc

import pytest
from written_muge import encoded, jpeg

from pipeline_lib.catalogue.media import photo_bytes
from pipeline_lib.datasets.image_tsv import list_tsv_images


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_image_is_listed_with_its_byte_range(tmp_path, end):
    path = tmp_path / "train_imgs.tsv"
    path.write_bytes(end.join(b"%d\t%s" % (n, encoded(n, jpeg(n))) for n in range(5)) + end + end)
    images = list_tsv_images(path)
    assert images.select("row", "image_id").rows() == [(n + 1, str(n)) for n in range(5)]
    assert [photo_bytes(tmp_path, name) for name in images["media"]] == [jpeg(n) for n in range(5)]


def test_a_large_file_is_not_loaded_into_memory(tmp_path):
    path = tmp_path / "a.tsv"
    with path.open("wb") as stream:
        for number in range(400):
            stream.write(b"%d\t" % number + b"A" * 100_000 + b"\n")
    tracemalloc.start()
    try:
        assert len(list_tsv_images(path)) == 400
        assert tracemalloc.get_traced_memory()[1] < 2_000_000  # of a file of 40 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\tAAAA\nx2\tAAAA\n", r"a\.tsv: row 2: not `<whole number><tab><base64>`; download"),
        (b"1\tAAAA\n12345", "row 2: not `<whole"),
        (b"1,AAAA\n", "row 1"),
        (b"1\tAAAA\r2\tAAAA\r", r"row 1: its lines end in carriage returns; write line feeds with `tr"),
        (b"\n", "no image in it"),
    ],
)
def test_a_line_of_another_format_is_named(tmp_path, content, message):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list_tsv_images(path)


@pytest.mark.parametrize(
    "before", [b"", b"data:image/jpeg;base64,", b"data:image/png;charset=utf-8;base64,", b"data:;base64,"]
)
@pytest.mark.parametrize("after", [b"", b"\t", b" \t\t "])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_data_uri_trailing_tabs_and_a_byte_order_mark_are_passed_over(tmp_path, before, after, mark):
    path = tmp_path / "train_imgs.tsv"
    path.write_bytes(mark + b"".join(b"%d\t%s%s%s\n" % (n, before, encoded(n, jpeg(n)), after) for n in range(3)))
    assert [photo_bytes(tmp_path, name) for name in list_tsv_images(path)["media"]] == [jpeg(n) for n in range(3)]


def test_ids_of_64_unsigned_bits_are_read_and_zeros_before_a_number_are_not_part_of_it(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"18446744073709551615\tAAAA\n007\tAAAA\n")
    assert list_tsv_images(path)["image_id"].to_list() == ["18446744073709551615", "7"]

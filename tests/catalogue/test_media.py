"""Photos by their media names: files, and slices of a tsv file."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.catalogue.media import open_photo, photo_bytes, slice_name
from pipeline_lib.transforms.formats import BadPhotoError


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=20), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_slice_is_decoded_from_either_alphabet(tmp_path_factory, data, before, urlsafe, padded):
    root = tmp_path_factory.mktemp("tsv")
    text = base64.urlsafe_b64encode(data) if urlsafe else base64.b64encode(data)
    text = text if padded else text.rstrip(b"=")
    (root / "a.tsv").write_bytes(before + text + b"\n5\tAAAA\n")
    assert photo_bytes(root, slice_name("a.tsv", len(before), len(text))) == data


def test_a_plain_file_is_read_even_if_its_name_looks_like_a_slice(tmp_path):
    (tmp_path / "a#1:2.jpg").write_bytes(b"\xff\xd8")
    assert photo_bytes(tmp_path, "a#1:2.jpg") == b"\xff\xd8"


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ("a.tsv#0:9", "outside its file"),
        ("a.tsv#0:0", "empty image"),
        ("a.tsv#0:5", "not base64"),
        ("a.tsv#0:1", "not base64"),
        ("../a.tsv#0:4", "unsafe path"),
        ("/a.tsv#0:4", "unsafe path"),
        ("leak.tsv#0:4", "link leaves the data root"),
        ("folder.tsv#0:4", "not a file"),
        ("empty.tsv#0:4", "empty file"),
    ],
)
def test_a_photo_that_cannot_be_read_has_its_reason(tmp_path, media, reason):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.tsv").write_bytes(b"AAAA")
    (root / "leak.tsv").symlink_to(tmp_path / "outside.tsv")
    (root / "a.tsv").write_bytes(b"AAAA\tAA")
    (root / "empty.tsv").touch()
    (root / "folder.tsv").mkdir()
    with pytest.raises(BadPhotoError) as caught:
        open_photo(root.resolve(), media)
    assert caught.value.reason == reason


def test_a_missing_file_is_an_os_error(tmp_path):
    for media in ("none.jpg", "none.tsv#0:4"):
        with pytest.raises(FileNotFoundError):
            photo_bytes(tmp_path, media)

"""Checks of single photos: faults with their reasons, and the thumbnail."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn_records import photo
from PIL import Image

from pipeline_lib.catalogue.photos import check_photos

LIMIT = 10_000_000


def fault(root, name, limit=LIMIT):
    checked = check_photos(root.resolve(), limit, [name])
    assert not checked.thumbnails.any()
    return checked.faults[0].reason, checked.faults[0].value


def png_with_header(width, height):
    """Return a PNG of a few bytes whose header gives any size."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.JPEG"])
def test_a_good_photo_has_no_fault_and_a_thumbnail_of_its_luma(tmp_path, photo, name):
    path = photo(name, size=(128, 128))
    checked = check_photos(tmp_path.resolve(), LIMIT, [name])
    assert checked.faults == [None]
    with Image.open(path) as image:
        blocks = np.asarray(image.convert("L"), dtype=float).reshape(16, 8, 16, 8).mean((1, 3))
    luma = checked.thumbnails[0, : 64 * 64].reshape(16, 4, 16, 4).mean((1, 3))
    assert np.abs(luma - blocks).mean() < 4


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("size", [(96, 96), (700, 500)])
def test_truncated_files_are_found_although_decoded_at_a_small_scale(tmp_path, photo, name, fraction, size):
    path = photo(name, size=size)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    assert fault(tmp_path, name)[0] in ("truncated image", "unreadable image", "not an image")


def test_a_truncated_progressive_jpeg_is_found(tmp_path, photo):
    path = photo("a.jpg", size=(400, 400), progressive=True)
    path.write_bytes(path.read_bytes()[:-200])
    assert fault(tmp_path, "a.jpg")[0] == "truncated image"


def test_every_kind_of_fault_has_its_reason(tmp_path):
    (tmp_path / "text.jpg").write_text("<html>not here</html>")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert fault(tmp_path, "text.jpg") == (
        "not an image",
        "an HTML page, so the download had failed",
    )
    assert fault(tmp_path, "empty.jpg") == ("empty file", "0 bytes")
    assert fault(tmp_path, "folder.jpg")[0] == "not a file"
    assert fault(tmp_path, "pipe.jpg")[0] == "not a file"
    assert fault(tmp_path, "none.jpg") == ("missing image", "no such file")
    assert fault(tmp_path, "x" * 300 + ".jpg")[0] == "unreadable image"


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/etc/passwd", "C:\\a.jpg", "..\\a.jpg", "a\0.jpg"])
def test_paths_that_leave_the_root_are_refused(tmp_path, name):
    assert fault(tmp_path, name) == ("unsafe path", name)


def test_a_link_out_of_the_root_is_never_opened(tmp_path, photo, monkeypatch):
    photo("outside/secret.jpg")
    photo("root/b.jpg")
    root = tmp_path / "root"
    (root / "leak.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "same.jpg").symlink_to(root / "b.jpg")
    opened = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: opened.append(path) or real_open(path, *rest, **more))
    names = ["leak.jpg", "folder/secret.jpg", "same.jpg"]
    faults = check_photos(root.resolve(), LIMIT, names).faults
    assert [each and each.reason for each in faults] == ["link leaves the data root"] * 2 + [None]
    assert faults[0].value == "leak.jpg"
    assert opened == [root.resolve() / "b.jpg"]


def test_huge_images_are_refused_by_their_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_with_header(20_000, 20_000))
    (tmp_path / "vast.png").write_bytes(png_with_header(100_000, 100_000))
    limit = Image.MAX_IMAGE_PIXELS
    assert fault(tmp_path, "bomb.png") == ("too many pixels", "20000 x 20000")
    assert fault(tmp_path, "vast.png") == ("too many pixels", "100000 x 100000")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_limit_itself_is_allowed(tmp_path, photo):
    photo("a.png", size=(10, 12))
    assert check_photos(tmp_path.resolve(), 120, ["a.png"]).faults == [None]
    assert fault(tmp_path, "a.png", 119) == ("too many pixels", "10 x 12")


def test_transparent_pixels_count_as_white_in_every_mode(tmp_path):
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.save(tmp_path / "rgba.png")
    palette = Image.new("P", (20, 20), 0)
    palette.save(tmp_path / "p.png", transparency=b"\0")
    thumbnails = check_photos(tmp_path.resolve(), LIMIT, ["rgba.png", "p.png"]).thumbnails
    assert (thumbnails[:, : 64 * 64] == 255).all()


def test_an_exif_rotation_is_applied(tmp_path, photo):
    upright = photo("a.png")
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(upright) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    first, second = check_photos(tmp_path.resolve(), LIMIT, ["a.png", "turned.png"]).thumbnails
    assert (first == second).all()


def test_any_error_of_a_decoder_is_a_fault_of_one_photo(tmp_path, photo, monkeypatch):
    photo("a.png")

    def broken(self):
        raise KeyError("odd")

    monkeypatch.setattr(Image.Image, "draft", lambda self, mode, size: broken(self))
    assert fault(tmp_path, "a.png") == ("unreadable image", "KeyError: 'odd'")


def test_an_error_of_the_machine_is_not_a_fault_of_the_photo(tmp_path, photo, monkeypatch):
    photo("a.png")

    def too_many(*args, **rest):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "open", too_many)
    with pytest.raises(OSError, match="Too many open files"):
        check_photos(tmp_path.resolve(), LIMIT, ["a.png"])


def test_a_format_that_runs_programs_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert fault(tmp_path, "a.jpg")[0] == "not an image"

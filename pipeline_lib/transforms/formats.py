"""Opens an image file by its content, whatever its name: every format of the installed Pillow that is safe to decode.

Left out are formats whose decoder starts a program or opens other formats by itself, and formats that Pillow names but
cannot decode. A file in none of these formats gets a reason that says what it is, as far as its first bytes tell.
"""

import functools
import io
import re

from PIL import Image, UnidentifiedImageError

from pipeline_lib.artifacts.messages import fault_of

# Tried first, because Pillow imports about 40 more modules for the others.
COMMON = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# EPS starts Ghostscript, WMF uses the printing system of Windows, IPTC opens any format inside it. For the others
# Pillow has no decoder of its own.
NOT_DECODED = frozenset({"EPS", "WMF", "IPTC", "MPEG", "BUFR", "GRIB", "HDF5", "FPX", "MIC"})
# Photos that shops have and Pillow does not read, and files that are no photo: pattern of the first bytes -> name.
KNOWN_STARTS = (
    (rb"....ftyp(heic|heix|heim|hevc|mif1|msf1)", "HEIC, which Pillow does not read: export it as JPEG"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL, which Pillow does not read: export it as JPEG"),
    (rb"....ftyp", "a video or an unknown ISO media file"),
    (rb"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    (rb"(?i)\s*(<!doctype html|<html)", "an HTML page, so the download had failed"),
    (rb"(?i)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", "SVG, a drawing without pixels"),
    (rb"%PDF", "PDF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript, which is a program and is not run"),
    (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf", "an archive"),
)
START = 16  # bytes by which Pillow knows a format
# Photos with these names are listed although Pillow does not read them, so that a reject names them.
UNREAD_EXTENSIONS = frozenset({".heic", ".heif", ".jxl"})


class BadPhotoError(ValueError):
    """A photo that cannot be used, with the reason and the offending value."""

    def __init__(self, reason: str, value: str) -> None:
        # An error that a worker raises is built again from its arguments, so these are all of them.
        super().__init__(reason, value)
        self.reason = reason
        self.value = value

    def __str__(self) -> str:
        return f"{self.reason}: {self.value}"


def open_image(data: bytes) -> Image.Image:
    """Open an image file without decoding its pixels; BadPhotoError if it is no image, or has a broken header."""
    for formats in (lambda: COMMON, other_formats):
        try:
            return Image.open(io.BytesIO(data), formats=formats())
        except UnidentifiedImageError:
            continue
    raise _not_opened(data)


@functools.cache
def other_formats() -> tuple[str, ...]:
    """Return the names of Pillow's formats beside COMMON that are decoded here."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_DECODED and name not in COMMON)


@functools.cache
def photo_extensions() -> frozenset[str]:
    """Return the endings, in lower case and with the dot, of files that count as photos if they are named by an id."""
    readable = {*COMMON, *other_formats()}
    return UNREAD_EXTENSIONS | {ending for ending, name in Image.registered_extensions().items() if name in readable}


def _not_opened(data: bytes) -> BadPhotoError:
    for name in (*COMMON, *other_formats()):
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:START]) is True:
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:  # decoders raise many kinds of errors for a broken file
                return BadPhotoError("unreadable image", f"broken {name}: {fault_of(error)}")
    known = next((name for pattern, name in KNOWN_STARTS if re.match(pattern, data[:512], re.DOTALL)), None)
    return BadPhotoError("not an image", known or ("no known format" if data else "an empty file"))

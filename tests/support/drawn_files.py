"""Image files that Pillow does not write: colour profiles made of a few tags, TIFFs of unusual bit depths."""

import io
import struct

import numpy as np
from PIL import Image

# Primaries adapted to D50, as in the profiles of Apple and Adobe: X, Y, Z of red, green, blue.
PRIMARIES = {
    "Display P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
}
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])  # D50
D50 = (0.9642, 1.0, 0.8249)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """Return an image in a format of Pillow."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    """Return a picture whose every column and row differs."""
    across, down = np.linspace(0, 200, width), np.linspace(0, 55, height)
    pixels = np.stack([np.add.outer(down, across)] * 3, axis=-1) * (1, 0.8, 0.5)
    return Image.fromarray(pixels.astype(np.uint8))


def rgb_profile(name: str, gamma: float = 2.19921875, padding: int = 0) -> bytes:
    """Return a profile of three primaries and one gamma, made longer by `padding` bytes of text."""
    curve = _curve(gamma)
    tags = {f"{letter}XYZ": _xyz(values) for letter, values in zip("rgb", PRIMARIES[name], strict=True)}
    tags |= {"wtpt": _xyz(D50), "rTRC": curve, "gTRC": curve, "bTRC": curve}
    return _profile("RGB ", "XYZ ", tags | ({"cprt": b"text\0\0\0\0" + b"x" * padding} if padding else {}))


def grey_profile(gamma: float) -> bytes:
    """Return a profile of greys with one gamma."""
    return _profile("GRAY", "XYZ ", {"wtpt": _xyz(D50), "kTRC": _curve(gamma)})


def cmyk_profile(lightness_of_cyan: int) -> bytes:
    """Return a profile in which full cyan is a grey of a CIELAB lightness (0 to 100), and any other ink is black."""
    corners = [[0, 128, 128] for _ in range(16)]
    corners[0] = [255, 128, 128]  # no ink: white
    corners[8] = [round(lightness_of_cyan * 2.55), 128, 128]
    ramp = bytes(range(256))
    identity = b"".join(struct.pack(">i", 65536 * (row == column)) for row in range(3) for column in range(3))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + b"".join(map(bytes, corners)) + ramp * 3
    return _profile("CMYK", "Lab ", {"A2B0": table, "wtpt": _xyz(D50)}, "prtr")


def from_primaries(rgb: tuple[int, int, int], name: str, gamma: float = 2.19921875) -> np.ndarray:
    """Return the sRGB levels of a colour in a profile of `rgb_profile`, by the formulas of IEC 61966-2-1."""
    linear = (np.array(rgb) / 255) ** gamma
    shown = (np.linalg.inv(SRGB) @ np.array(PRIMARIES[name]).T @ linear).clip(0, 1)
    return 255 * np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)


def tiff(values: bytes, size: tuple[int, int], bits: int, **tags: int) -> bytes:
    """Return an uncompressed grey TIFF; tags `photometric` (0: white is 0) and `sample_format` (2 signed, 3 float)."""
    fields = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: tags.get("photometric", 1), 273: 0, 277: 1}
    fields |= {278: size[1], 279: len(values), 339: tags.get("sample_format", 1)}
    fields[273] = 8 + 2 + 12 * len(fields) + 4
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + body + bytes(4) + values


def _profile(space: str, connection: str, tags: dict[str, bytes], kind: str = "mntr") -> bytes:
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name.encode() + struct.pack(">II", offset + len(body), len(content))
        body += content
    head = struct.pack(">I4sI", offset + len(body), b"test", 0x02400000) + (kind + space + connection).encode()
    illuminant = b"".join(struct.pack(">i", round(value * 65536)) for value in D50)
    return (head + bytes(12) + b"acsp" + bytes(28) + illuminant).ljust(128, b"\0") + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"

"""A decoded frame -> upright sRGB pixels, as photos have them.

FFmpeg's decoder gives frames as they are coded: turned, woven from two fields, with wide pixels, with alpha, in the
colours of their tags. The chroma is interpolated for every pixel: a request for rgb24 alone halves its detail across,
except for the most frequent formats, for which FFmpeg has a faster conversion of its own.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from pipeline_lib.clips.header import Matrix
from pipeline_lib.transforms.decode import NOT_USED, Note, Pixels
from pipeline_lib.transforms.profiles import conversion

# For these FFmpeg's rgb24 has the same pixels as its gbrp (tested), which needs a copy more.
DIRECT = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "rgb24", "bgr24", "rgb0", "bgr0", "gray"})
UNSPECIFIED, BT709 = 2, 1  # AVColorSpace of a frame, and Colorspace of the conversion
HD_HEIGHT = 720
FULL_RANGE = 2
# Degrees against the clock -> display matrix.
QUARTER_TURNS = {90: (0, -1, 1, 0), -90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}
MATRIX_ROW = 3  # a display matrix has 3 x 3 numbers: a b u, c d v, x y w


@dataclass(frozen=True)
class Picture:
    """An upright frame: pixels (rows, columns, 3), and the width and height at which it is shown.

    The size differs from that of the pixels if they are not square, and for one field of two.
    """

    pixels: Pixels
    width: int
    height: int


@dataclass
class Converter:
    """Converts frames of any clip; one a process, because its tables for a size and format are used again."""

    _reformatters: dict[bool, Any] = field(default_factory=dict)

    def picture(self, frame: Any, aspect: Fraction, profile: bytes | None, matrix: Matrix | None) -> Picture:
        """Return a frame as it is shown; `aspect` is the width of a pixel by its height."""
        width, height = frame.width, frame.height
        if aspect >= 1:
            width = round(width * aspect)
        else:
            height = round(height / aspect)
        if frame.interlaced_frame and frame.height > 1:
            frame = first_field(frame)
        pixels = self._rgb(frame, profile)
        if matrix is None:
            return Picture(pixels, width, height)
        upright = turned(pixels, matrix)
        if is_transposed(matrix):
            width, height = height, width
        return Picture(upright, width, height)

    def _rgb(self, frame: Any, profile: bytes | None = None) -> Pixels:
        has_alpha = any(component.is_alpha for component in frame.format.components)
        if has_alpha or frame.format.name == "pal8":
            return on_white(in_srgb(self._planes(frame, "gbrap"), profile))
        return in_srgb(self._opaque(frame), profile)

    def _opaque(self, frame: Any) -> Pixels:
        if frame.format.name in DIRECT and frame.height % 2 == 0:
            converted = self._converted(frame, "rgb24")
            plane = converted.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : 3 * frame.width]
            return np.ascontiguousarray(rows).reshape(frame.height, frame.width, 3)
        return self._planes(frame, "gbrp")

    def _planes(self, frame: Any, target: str) -> Pixels:
        """Return (rows, columns, 3), or 4 with alpha last."""
        converted = self._converted(frame, target)
        order = (2, 0, 1, 3)[: len(converted.planes)]
        pixels = np.empty((frame.height, frame.width, len(order)), np.uint8)
        for channel, plane in enumerate(converted.planes[index] for index in order):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            pixels[..., channel] = rows[: frame.height, : frame.width]
        return pixels

    def _converted(self, frame: Any, target: str) -> Any:
        from av.video.reformatter import Interpolation, VideoReformatter

        if frame.format.name == target:
            return frame
        is_untagged_hd = frame.colorspace == UNSPECIFIED and frame.height >= HD_HEIGHT and not frame.format.is_rgb
        reformatter = self._reformatters.setdefault(is_untagged_hd, VideoReformatter())
        return reformatter.reformat(
            frame,
            format=target,
            src_colorspace=BT709 if is_untagged_hd else None,
            interpolation=Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT,
            dst_color_range=FULL_RANGE,
            threads=1,
        )


def on_white(pixels: Pixels) -> Pixels:
    """Return (rows, columns, 3) of (rows, columns, 4), whose last channel is alpha, composed on white.

    >>> on_white(np.array([[[0, 0, 200, 0], [0, 0, 200, 255], [0, 100, 200, 51]]], np.uint8)).tolist()
    [[[255, 255, 255], [0, 0, 200], [204, 224, 244]]]
    """
    alpha = pixels[..., 3:].astype(np.uint16)
    shown = pixels[..., :3] * alpha + 255 * (255 - alpha)
    return ((shown + 127) // 255).astype(np.uint8)


def in_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Return pixels (rows, columns, 3 or 4, alpha last) of a colour profile as sRGB; unchanged if it cannot be used."""
    used = conversion(profile, "RGB") if profile else None
    if used is None or used.transform is None:
        return pixels
    colours = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), used.transform)
    return np.concatenate((np.asarray(colours), pixels[..., 3:]), axis=-1)


def profile_notes(profile: bytes | None) -> tuple[Note, ...]:
    """Return a note if the colour profile of frames cannot be used."""
    problem = conversion(profile, "RGB").problem if profile else None
    return (Note(NOT_USED, problem),) if problem else ()


def display_matrix(frame: Any) -> Matrix | None:
    """Return a, b, c and d of the display matrix of a video's frame; None if it is shown as it is."""
    try:
        data = next((one for one in frame.side_data if one.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # PyAV does not know one of the blocks beside it, such as EXIF
        return QUARTER_TURNS.get(frame.rotation)
    if data is None:
        return None
    numbers = np.frombuffer(bytes(data), np.int32)
    a, b, c, d = (int(numbers[index]) for index in (0, 1, MATRIX_ROW, MATRIX_ROW + 1))
    return None if (not (b or c) and a > 0 and d > 0) or not any((a, b, c, d)) else (a, b, c, d)


def is_transposed(matrix: tuple[int, int, int, int]) -> bool:
    """Return whether rows become columns; an angle between is taken as the nearest quarter turn."""
    a, b, c, d = (abs(number) for number in matrix)
    return b + c > a + d


def turned(pixels: Pixels, matrix: tuple[int, int, int, int]) -> Pixels:
    """Return the pixels turned and mirrored: column a x + c y and row b x + d y show the pixel of column x and row y.

    >>> image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    >>> turned(image, (0, 1, -1, 0))[..., 0].tolist()
    [[3, 0], [4, 1], [5, 2]]
    """
    a, b, c, d = matrix
    transposed = is_transposed(matrix)
    if transposed:
        pixels = pixels.transpose(1, 0, 2)
    if (c if transposed else a) < 0:
        pixels = pixels[:, ::-1]
    if (b if transposed else d) < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def first_field(frame: Any) -> Any:
    """Return every second line of a frame that is woven from two fields of different times, with its own chroma."""
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    field_filter, sink = graph.add("field", "type=top"), graph.add("buffersink")
    source.link_to(field_filter)
    field_filter.link_to(sink)
    graph.configure()
    graph.push(frame)
    return graph.pull()

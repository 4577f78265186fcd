"""How an image becomes the square that a tower reads, as tower descriptions and fingerprints state it.

This module imports no image library: training from stored features compares fingerprints and reads no image.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.params.values import Interpolation, ResizeMode

VERSION = 2  # of the fixed view and of `decode`: increase it if the same bytes give other pixels


class Resizing(NamedTuple):
    """How an image becomes a square; the fields are keys of a tower's description, the first three values open_clip's.

    shortest: the shorter side gets the size, and the centre is cropped. longest: the longer side gets it, and the rest
    is black. squash: both sides get it. target_pad, of CLIP4Cir: if the sides differ by 1.25 times or more, black pads
    the shorter one to that ratio; then shortest. square_pad: black pads it to a square, so nothing is cropped.
    """

    resize_mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"

    @staticmethod
    def of(description: Mapping[str, Any]) -> "Resizing":
        """Return the resizing that an image tower's description states."""
        return Resizing(**{key: description[key] for key in Resizing._fields if key in description})

    def stated(self) -> dict[str, str]:
        """Return what differs from the default, which descriptions and fingerprints do not state."""
        return {key: value for key, value in self._asdict().items() if value != Resizing._field_defaults[key]}


SHORTEST = Resizing()


def preprocessing_fingerprint(size: int, description: Mapping[str, Any], **more: object) -> str:
    """Return the identity of the fixed view at `size` pixels, resized and normalised as an image tower describes."""
    channels = {name: [float(value) for value in description[name]] for name in ("mean", "std")}
    resizing = Resizing.of(description).stated()
    fixed = {"version": VERSION, "view": "none", "resample": "bicubic", "size": size}
    return digest_value({**fixed, **channels, **resizing, **more})

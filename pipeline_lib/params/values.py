"""Types of values that several sections share."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline_lib.artifacts.path_guard import is_inner

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
Precision = Literal["auto", "fp32", "tf32", "fp16", "bf16"]
ResizeMode = Literal["shortest", "longest", "squash", "target_pad", "square_pad"]
Interpolation = Literal["bicubic", "bilinear"]
ColourProfile = Literal["convert", "ignore"]
ViewName = Literal["none", "clip", "jitter_flip", "grayscale_blur"]
Positive = Annotated[int, Field(gt=0)]
# Units of a layer, heads, tokens: no machine has memory for more.
Width = Annotated[int, Field(gt=0, le=65_536)]
# The side of an image that a tower reads.
Pixels = Annotated[int, Field(gt=0, le=8192)]
# NumPy, torch, scikit-learn and FAISS all take seeds up to this one.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


def _named(name: str) -> str:
    if not name.strip():
        raise ValueError("write a name; null is the value for none where a setting may have none")
    if CONTROL.search(name):
        raise ValueError("it has a line break or another control character; write it on one line")
    return name


def _as_file(name: str) -> str:
    if any(len(part.encode(errors="surrogatepass")) > 255 for part in name.split("/")):
        raise ValueError("no file has a name of more than 255 bytes")
    return name


def _inner(name: str) -> str:
    if not is_inner(name):
        raise ValueError("write a path inside data.root, without `..`, which DVC hashes with that folder")
    return name


# A name that is neither left empty by mistake nor broken.
Name = Annotated[str, Field(min_length=1), AfterValidator(_named)]
FilePath = Annotated[Name, AfterValidator(_as_file)]
# A path relative to data.root that does not leave it.
InnerFolder = Annotated[str, AfterValidator(_inner), AfterValidator(_as_file)]
InnerFile = Annotated[FilePath, AfterValidator(_inner)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# For a field that is a tuple: YAML and JSON have lists alone.
FROM_LIST = BeforeValidator(_as_tuple)

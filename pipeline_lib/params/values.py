"""Types of values that several sections share."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline_lib.artifacts.path_guard import is_inner

Precision = Literal["auto", "fp32", "tf32", "fp16", "bf16"]
ResizeMode = Literal["shortest", "longest", "squash", "target_pad", "square_pad"]
Interpolation = Literal["bicubic", "bilinear"]
ViewName = Literal["none", "clip", "jitter_flip", "grayscale_blur"]
Positive = Annotated[int, Field(gt=0)]
# NumPy, torch, scikit-learn and FAISS all take seeds up to this one.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
# A name or path that is left empty by mistake; null is the value for none.
Name = Annotated[str, Field(min_length=1)]


def _inner(name: str) -> str:
    if not is_inner(name):
        raise ValueError("write a path inside data.root, without `..`, which DVC hashes with that folder")
    return name


# A path relative to data.root that does not leave it.
InnerFolder = Annotated[str, AfterValidator(_inner)]
InnerFile = Annotated[Name, AfterValidator(_inner)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# For a field that is a tuple: YAML and JSON have lists alone.
FROM_LIST = BeforeValidator(_as_tuple)

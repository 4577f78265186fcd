"""The types of numbers that stores hold, on their way to the disk and back.

numpy has no bfloat16: its bits, the upper half of a float32's, lie in a uint16, and become the float32 they are when
they are read.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# name of a type -> (what safetensors calls it, what numpy maps it as)
DTYPES: dict[str, tuple[str, Any]] = {
    "float16": ("F16", np.float16),
    "bfloat16": ("BF16", np.uint16),
    "float32": ("F32", np.float32),
}


def as_stored(values: NDArray[Any], dtype: str) -> tuple[NDArray[Any], bool]:
    """Return floats as a store of type `dtype` holds them, rounded to the nearest, and whether all are finite there."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            stored = values.astype(DTYPES[dtype][1])
        return stored, bool(np.isfinite(stored).all())
    with np.errstate(over="ignore"):
        exact = values.astype(np.float32)
    bits = exact.view(np.uint32)
    # Half of a last place is added, less one where the last place kept is even: ties go to the even one.
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded, bool(np.isfinite(exact).all() and np.isfinite(as_floats(rounded)).all())


def as_floats(stored: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return what a mapped matrix holds as floats: bfloat16 exactly, as float32; other types as they are."""
    if stored.dtype != np.uint16:
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)

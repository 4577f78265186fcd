"""The number formats of stores: conversion from floats to the stored type and back.

numpy has no bfloat16. Its bits, the upper half of a float32, are stored as uint16 and converted to float32 when read.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# name of a type -> the numpy type of a store's matrix
DTYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}


def as_stored(values: NDArray[Any], dtype: str) -> tuple[NDArray[Any], bool]:
    """Return floats as the type `dtype` of a store, rounded to nearest, and whether all results are finite."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            stored = values.astype(DTYPES[dtype])
        return stored, bool(np.isfinite(stored).all())
    with np.errstate(over="ignore"):
        exact = values.astype(np.float32)
    bits = exact.view(np.uint32)
    # Round half to even: add half a unit in the last place, minus one bit if the last stored bit is 0.
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded, bool(np.isfinite(exact).all() and np.isfinite(as_floats(rounded)).all())


def as_floats(stored: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return the values of a stored matrix as floats: bfloat16 exactly as float32, other types unchanged."""
    if stored.dtype != np.uint16:
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)

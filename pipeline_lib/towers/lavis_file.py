"""Reads the tensors of a file as LAVIS and SPRC save it: .pth, .pt or .safetensors, one dict of tensors in it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.towers.weights import State, read_weights


def read_lavis(path: Path, setting: str) -> State:
    """Return the tensors by name, mapped and not in memory; ValueError, which says the `setting`, for another file."""
    if not path.is_file():
        raise ValueError(f"{setting} = {str(path)!r}: no such file")
    if path.suffix == ".safetensors":
        content: Any = read_weights(path)
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # pickle, zip and torch have errors of their own
            raise ValueError(
                f"{setting} = {str(path)!r}: no file of tensors ({' '.join(str(error).split())[:200]})"
            ) from error
    # LAVIS saves {"model": tensors}, SPRC {"epoch": number, name of the model: tensors}.
    inner = [value for value in content.values() if isinstance(value, dict)] if isinstance(content, dict) else []
    tensors = inner[0] if len(inner) == 1 else content
    if not isinstance(tensors, dict):
        raise ValueError(f"{setting} = {str(path)!r}: holds a {type(tensors).__name__}, not tensors by name")
    return {name: value for name, value in tensors.items() if isinstance(value, Tensor)}

"""Modules on the meta device, which has shapes but no values: what they look like costs no memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules on the meta device, without what would only give their parameters values."""
    with torch.device("meta"), _Unclamped():
        yield


class _Unclamped(TorchFunctionMode):
    """Leaves out `clamp_`, which changes no shape: torch takes a millisecond for it there, in Python.

    timm clamps each initial weight. A ConvNeXt-Base on the meta device takes 0.16 s of CPU instead of 0.29 s.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.clamp_ and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))

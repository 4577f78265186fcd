"""Modules on the meta device, which has shapes but no values: what they look like costs no memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline_lib.towers.uninitialised import uninitialised


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules on the meta device, without what would only give their parameters values.

    Each such function takes up to a millisecond there, in Python.
    """
    with torch.device("meta"), uninitialised():
        yield

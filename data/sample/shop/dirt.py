"""The faults of real exports, put in on purpose and in known numbers, so that cleaning has something to find.

`DIRT` counts products of a sample of 2,500; a smaller sample has proportionally fewer, at least one of each.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

REFERENCE_SIZE = 2500
DIRT: dict[str, int] = {
    "missing image": 12,
    "truncated image": 8,
    "text named .jpg": 4,
    "truncated second photo": 6,
    "duplicate id": 10,
    "empty title": 24,
    "empty text": 8,
    "no label": 40,
    "near duplicate": 40,
}
# Faults that cost a row: the product has no readable photo, or its id was taken by an earlier row.
LOSSES = ("missing image", "truncated image", "text named .jpg", "duplicate id")


def dirt_counts(num_products: int) -> dict[str, int]:
    """Return how many products of a sample have each fault."""
    return {fault: max(1, round(count * num_products / REFERENCE_SIZE)) for fault, count in DIRT.items()}


def soil(candidates: Sequence[int], num_products: int, rng: np.random.Generator) -> dict[str, list[int]]:
    """Return which of the candidate products have which fault; none has two."""
    order = [int(index) for index in rng.permutation(candidates)]
    faults = {}
    for fault, count in dirt_counts(num_products).items():
        faults[fault], order = order[:count], order[count:]
    return faults


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _error_page(content: bytes) -> bytes:
    return b"<html><body><h1>404 Not Found</h1><p>The picture has moved.</p></body></html>\n"


# What becomes of a photo's bytes.
SPOIL: dict[str, Callable[[bytes], bytes]] = {
    "truncated image": _truncate,
    "truncated second photo": _truncate,
    "text named .jpg": _error_page,
}


def copy_photo(content: bytes) -> bytes:
    """Return a photo as another seller would re-post it: a little smaller and compressed again."""
    with Image.open(io.BytesIO(content)) as image:
        smaller = image.resize((round(image.width * 0.94), round(image.height * 0.94)), Image.Resampling.BICUBIC)
    target = io.BytesIO()
    smaller.save(target, "JPEG", quality=82)
    return target.getvalue()

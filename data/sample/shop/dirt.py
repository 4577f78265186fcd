"""The faults of real exports, added on purpose in known numbers, so that the catalogue stage has something to clean.

`DIRT` is the number of products with each fault in a sample of 2,500. A smaller sample has proportionally fewer, and at
least one of each.
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
# Faults that reject a row: the product has no readable photo, or an earlier row has the same id.
LOSSES = ("missing image", "truncated image", "text named .jpg", "duplicate id")


def dirt_counts(num_products: int) -> dict[str, int]:
    """Return how many products of a sample have each fault."""
    return {fault: max(1, round(count * num_products / REFERENCE_SIZE)) for fault, count in DIRT.items()}


def assign_faults(candidates: Sequence[int], num_products: int, rng: np.random.Generator) -> dict[str, list[int]]:
    """Return the candidate products with each fault; no product has two."""
    order = [int(index) for index in rng.permutation(candidates)]
    faults = {}
    for fault, count in dirt_counts(num_products).items():
        faults[fault], order = order[:count], order[count:]
    return faults


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _error_page(content: bytes) -> bytes:
    return b"<html><body><h1>404 Not Found</h1><p>The picture has moved.</p></body></html>\n"


# Fault -> function from the bytes of a photo to the corrupted bytes.
CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "truncated image": _truncate,
    "truncated second photo": _truncate,
    "text named .jpg": _error_page,
}


def copy_photo(content: bytes) -> bytes:
    """Return a photo as another seller would post it again: slightly smaller and recompressed."""
    with Image.open(io.BytesIO(content)) as image:
        smaller = image.resize((round(image.width * 0.94), round(image.height * 0.94)), Image.Resampling.BICUBIC)
    target = io.BytesIO()
    smaller.save(target, "JPEG", quality=82)
    return target.getvalue()

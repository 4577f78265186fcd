"""Mining of hard negatives against the form before it: full similarities, one mask a key, and a sort, in one run.

    OMP_NUM_THREADS=2 python bench/mining.py

Embeddings of 512 dimensions like those of a trained pair: clusters in a space whose coordinates have falling sizes, and
a text near its photo. Both sides are timed in CPU seconds of one thread, so that other work on the machine counts less.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from results import Ratio, interleaved, report
from torch import Tensor
from torch.nn import functional

from pipeline_lib.loading.products import Captions, Products
from pipeline_lib.training.mining import hard_negatives
from pipeline_lib.training.right_answers import right_answers

DIM, COUNT, BLOCK, CHECKED = 512, 16, 4096, 1000


def earlier_form(text: Tensor, image: Tensor, keys: Sequence[Tensor]) -> Tensor:
    """Return the negatives as this project mined them before: all similarities are sorted."""
    negatives = []
    for start in range(0, len(text), BLOCK):
        rows = slice(start, min(start + BLOCK, len(text)))
        best, number = text.new_empty((len(text[rows]), 0)), torch.empty((len(text[rows]), 0), dtype=torch.long)
        for first in range(0, len(image), BLOCK):
            columns = slice(first, first + BLOCK)
            similarity = text[rows] @ image[columns].T
            for key in keys:
                similarity = similarity.masked_fill(key[rows][:, None] == key[columns][None, :], float("-inf"))
            numbers = torch.arange(first, first + similarity.shape[1]).expand(len(similarity), -1)
            best, number = torch.cat([best, similarity], dim=1), torch.cat([number, numbers], dim=1)
            best, position = best.topk(COUNT, dim=1)
            number = number.gather(1, position)
        negatives.append(number)
    return torch.cat(negatives)


def embeddings(count: int) -> tuple[Tensor, Tensor]:
    """Return text and image embeddings (count, DIM) of unit length, in clusters of about 50."""
    drawn = torch.Generator().manual_seed(0)
    sizes = torch.arange(1, DIM + 1) ** -0.7
    centre = torch.randn(count // 50, DIM, generator=drawn)[torch.randint(0, count // 50, (count,), generator=drawn)]
    one = centre + 0.7 * torch.randn(count, DIM, generator=drawn)
    other = one + 0.4 * torch.randn(count, DIM, generator=drawn)
    return functional.normalize(one * sizes, dim=1), functional.normalize(other * sizes, dim=1)


def timed(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    quick = options.quick
    torch.set_num_threads(1)
    count = 8_000 if quick else 30_000
    text, image = embeddings(count)
    rows = np.arange(count)
    answers = Captions(np.arange(count + 1), rows)
    products = Products([str(row) for row in rows], [""] * count, rows, rows // 2, rows, rows, rows, answers=answers)
    keys = [torch.from_numpy(rows), torch.from_numpy(rows // 2), torch.from_numpy(rows)]

    def mine() -> Tensor:
        return hard_negatives(text, image, right_answers(products, rows), COUNT)[0]

    expected = earlier_form(text[:CHECKED], image, keys)
    same = (mine()[:CHECKED].sort(1).values == expected.sort(1).values).float().mean().item()
    assert same > 0.999, f"{same} of the negatives are equal"  # near ties differ by rounding
    sides = interleaved(
        1 if quick else options.repetitions, lambda: timed(mine), lambda: timed(lambda: earlier_form(text, image, keys))
    )
    ratios = [Ratio(f"{count:,} products", "s", *sides, goal=">= 5", lower_is_better=True)]
    report("Mining", "16 negatives a text, 512 dimensions, CPU seconds of one thread.", ratios, quick)


if __name__ == "__main__":
    main()

"""Hard negatives for the next epoch: each product's most similar strangers, and batches in which they meet.

Batches of similar products are what approximate-nearest-neighbour negatives (ANCE, Xiong et al. 2021,
arXiv:2007.00808) are to a text retriever. An epoch is still one shuffle of all products, each at most once:
mining changes who meets whom, not how often a product is seen.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline_lib.loading.dataset import Rows

NONE = -1


def hardest_negatives(
    text: Tensor, image: Tensor, keys: Sequence[Tensor], count: int, block: int = 4096, device: str = "cpu"
) -> Tensor:
    """Return (products, count) rows of the images most similar to each text, best first, -1 where there are fewer.

    text and image (products, dim); a row that shares any of `keys` (products,) with the text is no stranger.
    Similarities exist for (block, block) at a time.
    """
    found = []
    for start in range(0, len(text), block):
        rows = slice(start, start + block)
        asked = text[rows].to(device)
        score = asked.new_empty((len(asked), 0))
        number = torch.empty((len(asked), 0), dtype=torch.long, device=device)
        for first in range(0, len(image), block):
            seen = slice(first, first + block)
            fresh = asked @ image[seen].to(device).T
            for key in keys:
                same = key[rows].to(device)[:, None] == key[seen].to(device)[None, :]
                fresh = fresh.masked_fill(same, float("-inf"))
            counted = torch.arange(first, first + fresh.shape[1], device=device).expand(len(asked), -1)
            score, number = torch.cat([score, fresh], dim=1), torch.cat([number, counted], dim=1)
            score, place = score.topk(min(count, score.shape[1]), dim=1)
            number = number.gather(1, place).masked_fill(score == float("-inf"), NONE)
        found.append(functional.pad(number, (0, count - number.shape[1]), value=NONE).cpu())
    return torch.cat(found) if found else torch.empty((0, count), dtype=torch.long)


def mined_order(
    strangers: NDArray[np.int64], batch_size: int, share: float, seed: int, epoch: int
) -> list[tuple[int, Rows]]:
    """Return one epoch's batches: a `share` of each are strangers of its other rows, the rest as `shuffled_batches` draws.

    strangers (products, count) holds rows, best first, -1 for none. Every product's best is asked for before any
    product's second; one that has been dealt already is passed over, and what is left open is drawn.
    """
    count = len(strangers)
    drawn = iter(np.random.default_rng((seed, epoch)).permutation(count))
    size = min(batch_size, count)
    wanted = int(share * size)
    used = np.zeros(count, dtype=bool)
    batches = []
    for _ in range(count // size if size else 0):
        anchors = _take(drawn, used, size - wanted)
        met = _meet(strangers[anchors], used, wanted)
        batches.append((epoch, np.array(anchors + met + _take(drawn, used, wanted - len(met)), dtype=np.int64)))
    return batches


def _take(drawn: Iterator[np.int64], used: NDArray[np.bool_], wanted: int) -> list[int]:
    taken: list[int] = []
    while len(taken) < wanted:
        row = int(next(drawn))
        if not used[row]:
            used[row] = True
            taken.append(row)
    return taken


def _meet(strangers: NDArray[np.int64], used: NDArray[np.bool_], wanted: int) -> list[int]:
    met: list[int] = []
    for row in strangers.T.ravel().tolist():
        if len(met) == wanted:
            break
        if row != NONE and not used[row]:
            used[row] = True
            met.append(row)
    return met

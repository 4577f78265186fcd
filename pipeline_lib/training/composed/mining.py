"""Hard negatives of composed queries, from the index of the last epoch's model over the training products.

Three kinds, and no answer of the query among them: its reference (a model that ignores the sentence answers with it),
what the model ranks highest for the query, and the look-alikes of its target, by the embeddings of targets. The subset
that a data set names comes first of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline_lib.losses.composed_pairs import similarity
from pipeline_lib.training.composed.triplets import Rows, Triplets

NONE = -1
# Similarities that are in memory together.
BLOCK_VALUES = 1 << 22
Matrix = NDArray[np.floating]


@dataclass(frozen=True)
class ComposedIndex:
    """Unit embeddings by the last epoch's model: `queries` (queries, dim), `targets` (products, vectors, dim).

    Both may be maps of a file; they are read in blocks.
    """

    queries: Matrix
    targets: Matrix


def mine_negatives(index: ComposedIndex, triplets: Triplets, targets: Rows, count: int, device: str = "cpu") -> Rows:
    """Return rows of products (queries, count) that answer none of their query, hardest first, padded with -1.

    `targets` (queries,) is the target of each query whose look-alikes are searched.
    """
    means = _mean_vectors(index.targets)
    mined = np.full((len(triplets), count), NONE, np.int64)
    step = max(1, BLOCK_VALUES // max(1, index.targets.shape[0]))
    for start in range(0, len(triplets), step):
        rows = np.arange(start, min(start + step, len(triplets)))
        queries = _floats(index.queries[rows], device)
        alike = means[torch.from_numpy(targets[rows])].to(device)
        ranked = _nearest(queries, index.targets, triplets, rows, count)
        similar = _nearest(alike, means[:, None].numpy(), triplets, rows, count)
        for row, own, others in zip(rows.tolist(), ranked, similar, strict=True):
            mined[row] = _interleaved(triplets, row, own, others, count)
    return mined


def _nearest(queries: Tensor, targets: Matrix, triplets: Triplets, rows: Rows, count: int) -> Rows:
    """Return the products most similar to each query without its answers, best first, -1 where there are fewer."""
    best = torch.full((len(rows), 0), -torch.inf, device=queries.device)
    number = torch.full((len(rows), 0), NONE, device=queries.device)
    for columns in _blocks(targets, len(rows)):
        found = similarity(queries, _floats(targets[columns], str(queries.device)))
        some = np.arange(columns.start, columns.stop)
        answered = torch.from_numpy(triplets.answered_by(rows, some)).to(queries.device)
        found = found.masked_fill(answered, -torch.inf)
        best = torch.cat([best, found], dim=1)
        number = torch.cat([number, torch.from_numpy(some).to(number).expand(len(rows), -1)], dim=1)
        best, place = best.topk(min(count, best.shape[1]), dim=1)
        number = number.gather(1, place).masked_fill(best == -torch.inf, NONE)
    return number.cpu().numpy()


def _interleaved(triplets: Triplets, row: int, ranked: Rows, similar: Rows, count: int) -> Rows:
    """Return the reference, then by turns what is ranked high and what looks like the target, each once."""
    own = np.array([row])
    listed = np.concatenate([triplets.reference[own], triplets.subset.row(row)])
    listed = listed[~triplets.answered_by(own, listed)[0]]
    turns = np.stack([ranked, similar], axis=1).ravel() if len(ranked) == len(similar) else np.r_[ranked, similar]
    listed = np.concatenate([listed, turns[turns != NONE]])
    _, first = np.unique(listed, return_index=True)
    chosen = listed[np.sort(first)][:count]
    return np.pad(chosen, (0, count - len(chosen)), constant_values=NONE)


def draw_negatives(mined: Rows, queries: Rows, each: int, seed: int, epoch: int) -> Rows:
    """Return distinct rows of products: `each` of every query's mined negatives, drawn by (seed, epoch, query)."""
    drawn = [
        np.random.default_rng((seed, epoch, query, 3)).permutation(own[own != NONE])[:each]
        for query, own in zip(queries.tolist(), mined[queries], strict=True)
    ]
    return np.unique(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def _mean_vectors(targets: Matrix) -> Tensor:
    """Return the unit mean of each target's vectors (products, dim), which stands for the target among its own kind."""
    means = np.empty((targets.shape[0], targets.shape[2]), np.float32)
    for rows in _blocks(targets, 1):
        means[rows] = np.asarray(targets[rows], np.float32).mean(axis=1)
    return functional.normalize(torch.from_numpy(means), dim=-1)


def _blocks(targets: Matrix, rows: int) -> Iterator[slice]:
    """Yield slices of the targets whose similarities with some rows, or whose values, are in memory together."""
    size = max(1, BLOCK_VALUES // (targets.shape[1] * max(rows, targets.shape[2])))
    for start in range(0, len(targets), size):
        yield slice(start, min(start + size, len(targets)))


def _floats(values: Matrix, device: str) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(device)

"""Inner products by torch: of rounded rows, with a bound of what rounding takes, and of single pairs of rows."""

import warnings
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Rounded(NamedTuple):
    """Rows (n, dim) in a shorter format r, the length that rounding took of each, and the length of each, both (n,).

    Of the lengths before and after, it is the larger one. By Cauchy-Schwarz,
    |a.b - r(a).r(b)| <= |a - r(a)| |b| + |r(a)| |b - r(b)|.
    """

    rows: Tensor
    lost: Tensor
    length: Tensor


def rounded(rows: Tensor, dtype: torch.dtype) -> Rounded:
    """Return rows (n, dim) in a shorter `dtype`, or in their own, which takes nothing."""
    short = rows.to(dtype)
    back = short.to(rows.dtype)
    return Rounded(short, (rows - back).norm(dim=1), torch.maximum(rows.norm(dim=1), back.norm(dim=1)))


@cache
def allow_sparse_rows() -> None:
    """Let torch say unheard, as it does once, that compressed rows are in beta; filters are those of all threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        none = torch.zeros(0, dtype=torch.long)
        torch.sparse_csr_tensor(torch.zeros(1, dtype=torch.long), none, none, (0, 1), check_invariants=False)


def products_of_pairs(left: Tensor, right: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return the inner products (pairs,) of rows of `left` (n, dim), in their order, with rows of `right` (m, dim)."""
    allow_sparse_rows()
    counts, first = row.bincount(minlength=len(left)).cumsum(0), torch.zeros(1, dtype=torch.long, device=row.device)
    zeros, shape = torch.zeros(len(row), device=row.device), (len(left), len(right))
    pairs = torch.sparse_csr_tensor(torch.cat([first, counts]), column, zeros, shape, check_invariants=False)
    found: Tensor = torch.sparse.sampled_addmm(pairs, left, right.T, beta=0.0)
    return found.values()

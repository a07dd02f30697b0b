"""Squared Frobenius norms of products, computed from the Gram matrices of their factors.

    |B A|^2 = <B^T B, A A^T>

so that an update's norm is known without its (out, in) matrix. A Hadamard product of two low-rank
products is itself a product B A of Khatri-Rao factors with r1 r2 ranks, so the formula holds for it
as well. Because its Gram matrices are symmetric in the ranks of each side, r1 (r1 + 1) / 2 pairs of
ranks of the first side and r2 (r2 + 1) / 2 of the second are enough.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated

import torch
from torch import Tensor

# How many numbers of a matrix are built at a time, so that they stay in the processor's cache.
_NUMBERS = 1 << 18


def product(
    up: Annotated[Tensor, "out r"], down: Annotated[Tensor, "r in"]
) -> Annotated[Tensor, ""]:
    """Return |up @ down|^2 for up (out, r) and down (r, in)."""
    return ((up.T @ up) * (down @ down.T)).sum()


def tucker(
    up: Annotated[Tensor, "out r"],
    core: Annotated[Tensor, "r s *kernel"],
    down: Annotated[Tensor, "s in"],
) -> Annotated[Tensor, ""]:
    """Return |up x core x down|^2 for up (out, r), core (r, s, *kernel) and down (s, in)."""
    core = core.flatten(2)
    left = torch.einsum("ac,cbk->abk", up.T @ up, core)
    right = torch.einsum("adk,db->abk", core, down @ down.T)
    return (left * right).sum()


def hadamard(
    up1: Annotated[Tensor, "out r1"],
    down1: Annotated[Tensor, "r1 in"],
    up2: Annotated[Tensor, "out r2"],
    down2: Annotated[Tensor, "r2 in"],
) -> Annotated[Tensor, ""]:
    """Return |(up1 @ down1) o (up2 @ down2)|^2, with o the element-wise product."""
    ups = _pairs(up1.T) @ _pairs(up2.T).T
    downs = _pairs(down1) @ _pairs(down2).T
    return (ups * downs).sum()


def hadamard_by_rows(
    up1: Annotated[Tensor, "out r1"],
    down1: Annotated[Tensor, "r1 in"],
    up2: Annotated[Tensor, "out r2"],
    down2: Annotated[Tensor, "r2 in"],
) -> Annotated[Tensor, ""]:
    """Return what ``hadamard`` returns, by building the (out, in) matrix some rows at a time.

    Faster for high ranks, whose Gram matrices cost more than the matrix itself.
    """
    rows = max(1, _NUMBERS // down1.shape[1])
    parts = [
        ((left @ down1) * (right @ down2)).square().sum()
        for left, right in zip(up1.split(rows), up2.split(rows), strict=True)
    ]
    return torch.stack(parts).sum()


def pairs(rank: int) -> int:
    """Return the number of unordered pairs of ``rank`` ranks, r (r + 1) / 2.

    ``hadamard`` builds a row of products for each pair; its cost is estimated from this number.
    """
    return rank * (rank + 1) // 2


def _pairs(rows: Tensor) -> Tensor:
    """Multiply each two rows of an (r, n) matrix: (r (r + 1) / 2, n).

    Products of two different rows are multiplied by the square root of 2, because each stands for
    both orders of the pair.
    """
    first, second = torch.triu_indices(len(rows), len(rows), device=rows.device)
    made = rows[first] * rows[second]
    weights = torch.where(first == second, made.new_ones(()), made.new_full((), sqrt(2.0)))
    return made * weights.unsqueeze(1)

"""Squared Frobenius norms of products from the Grams of their factors.

    |B A|^2 = <B^T B, A A^T>

so that an update's length is known without its (out, in) matrix. For a Hadamard product of two
products the same holds for the Khatri-Rao factors B, A of rank r^2. Their Gram is symmetric in
each side's pair of ranks: sums over the r (r + 1) / 2 pairs of one side times those of the other.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated

import torch
from torch import Tensor

# Numbers of a matrix that are built at a time, so that they stay in the processor's cache.
_NUMBERS = 1 << 18


def product(
    up: Annotated[Tensor, "out r"], down: Annotated[Tensor, "r in"]
) -> Annotated[Tensor, ""]:
    """|up @ down|^2, a scalar, from up (out, r) and down (r, in)."""
    return ((up.T @ up) * (down @ down.T)).sum()


def tucker(
    up: Annotated[Tensor, "out r"],
    core: Annotated[Tensor, "r s *kernel"],
    down: Annotated[Tensor, "s in"],
) -> Annotated[Tensor, ""]:
    """|up x core x down|^2 from up (out, r), core (r, s, *kernel), down (s, in)."""
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
    """|(up1 @ down1) o (up2 @ down2)|^2 from ups (out, r) and downs (r, in)."""
    ups = _pairs(up1.T) @ _pairs(up2.T).T
    downs = _pairs(down1) @ _pairs(down2).T
    return (ups * downs).sum()


def hadamard_by_rows(
    up1: Annotated[Tensor, "out r1"],
    down1: Annotated[Tensor, "r1 in"],
    up2: Annotated[Tensor, "out r2"],
    down2: Annotated[Tensor, "r2 in"],
) -> Annotated[Tensor, ""]:
    """The same from the matrix itself, some rows at a time: for ranks whose Grams are dearer."""
    rows = max(1, _NUMBERS // down1.shape[1])
    parts = [
        ((left @ down1) * (right @ down2)).square().sum()
        for left, right in zip(up1.split(rows), up2.split(rows), strict=True)
    ]
    return torch.stack(parts).sum()


def pairs(rank: int) -> int:
    """Rows that ``hadamard`` makes of one factor: r (r + 1) / 2."""
    return rank * (rank + 1) // 2


def _pairs(rows: Tensor) -> Tensor:
    """(r, n) -> (r (r + 1) / 2, n): the product of each two rows, unequal ones times the root of
    2, since they stand for both orders."""
    first, second = torch.triu_indices(len(rows), len(rows), device=rows.device)
    made = rows[first] * rows[second]
    weights = torch.where(first == second, made.new_ones(()), made.new_full((), sqrt(2.0)))
    return made * weights.unsqueeze(1)

"""Khatri-Rao products, by which an element-wise product of low-rank matrices is low-rank itself.

    (B1 A1) o (B2 A2) = B A,   B[o, (a,b)] = B1[o,a] B2[o,b],   A[(a,b), i] = A1[a,i] A2[b,i]

and with cores T1, T2 between the factors, T[(a,b), (c,d), k] = T1[a,c,k] T2[b,d,k].
Derivation: docs/algorithms/loha.md. Source of the identity: Khatri and Rao 1968; for adapters
ABBA, arXiv:2505.14238.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

# Numbers from which a gradient on a CPU is read row by row, once, while each row is in the cache.
_LARGE = 2_500_000


def rows(
    first: Annotated[Tensor, "r1 *rest"], second: Annotated[Tensor, "r2 *rest"]
) -> Annotated[Tensor, "r1*r2 *rest"]:
    """Multiply every row of ``first`` by every row of ``second``: (r1*r2, ...).

    Gives A from A1 and A2, and B^T from B1^T and B2^T. Transposed, the long axis of B is innermost,
    where sums and products are vectorised.
    """
    return (first.unsqueeze(1) * second).flatten(0, 1)


def rows_backward(
    grad: Annotated[Tensor, "pairs *rest"],
    first: Annotated[Tensor, "r1 *rest"],
    second: Annotated[Tensor, "r2 *rest"],
) -> tuple[Annotated[Tensor, "r1 *rest"], Annotated[Tensor, "r2 *rest"]]:
    """Turn the gradient of ``rows`` into those of ``first`` and ``second``."""
    grad = grad.view(len(first), *second.shape)
    if grad.numel() < _LARGE or grad.device.type != "cpu" or grad.element_size() < 4:
        return (grad * second).sum(1), (grad * first.unsqueeze(1)).sum(0)
    grad_first, grad_second = [], torch.zeros_like(second)
    for part, row in zip(grad, first, strict=True):
        grad_first.append((part * second).sum(0))
        grad_second.addcmul_(part, row)
    return torch.stack(grad_first), grad_second


def cores(
    first: Annotated[Tensor, "a c *k"], second: Annotated[Tensor, "b d *k"]
) -> Annotated[Tensor, "a*b c*d *k"]:
    """Combine the cores T1 and T2 into T: (a, c, *k), (b, d, *k) -> (a*b, c*d, *k)."""
    product = first[:, None, :, None] * second[None, :, None, :]  # (a, b, c, d, *k)
    return product.flatten(2, 3).flatten(0, 1)


def cores_backward(
    grad: Annotated[Tensor, "ab cd *k"],
    first: Annotated[Tensor, "a c *k"],
    second: Annotated[Tensor, "b d *k"],
) -> tuple[Annotated[Tensor, "a c *k"], Annotated[Tensor, "b d *k"]]:
    """Turn the gradient of ``cores`` into those of ``first`` and ``second``."""
    (a, c), (b, d) = first.shape[:2], second.shape[:2]
    grad = grad.unflatten(1, (c, d)).unflatten(0, (a, b))  # (a, b, c, d, *k)
    return (
        (grad * second[None, :, None, :]).sum((1, 3)),
        (grad * first[:, None, :, None]).sum((0, 2)),
    )

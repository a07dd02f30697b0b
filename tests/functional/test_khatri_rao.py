"""The identities by which a LoHa is one low-rank product, over random shapes in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lycoris_ext.functional import khatri_rao

size = st.integers(1, 5)
identity = settings(max_examples=40)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check_gradients(function, backward, first: Tensor, second: Tensor) -> None:  # type: ignore[no-untyped-def]
    out = function(first, second)
    grad = torch.randn_like(out)
    wanted = torch.autograd.grad(out, (first, second), grad)
    for found, expected in zip(backward(grad, first, second), wanted, strict=True):
        torch.testing.assert_close(found, expected)


@identity
@given(size, size, size, size)
def test_a_hadamard_product_of_low_rank_products_is_one_low_rank_product(
    o: int, i: int, r1: int, r2: int
) -> None:
    b1, a1, b2, a2 = random(o, r1), random(r1, i), random(o, r2), random(r2, i)
    wanted = (b1 @ a1) * (b2 @ a2)
    up = khatri_rao.rows(b1.T, b2.T).T
    torch.testing.assert_close(up @ khatri_rao.rows(a1, a2), wanted)
    check_gradients(khatri_rao.rows, khatri_rao.rows_backward, a1, a2)


@identity
@given(size, size, size, size, st.lists(size, max_size=3))
def test_a_hadamard_product_of_tucker_products_is_one_tucker_product(
    o: int, i: int, r1: int, r2: int, kernel: list[int]
) -> None:
    up1, up2, down1, down2 = random(o, r1), random(o, r2), random(r1, i), random(r2, i)
    core1, core2 = random(r1, r1, *kernel), random(r2, r2, *kernel)

    def tucker(up: Tensor, core: Tensor, down: Tensor) -> Tensor:
        return torch.einsum("oa,ab...,bi->oi...", up, core, down)

    wanted = tucker(up1, core1, down1) * tucker(up2, core2, down2)
    found = tucker(
        khatri_rao.rows(up1.T, up2.T).T,
        khatri_rao.cores(core1, core2),
        khatri_rao.rows(down1, down2),
    )
    torch.testing.assert_close(found, wanted)
    check_gradients(khatri_rao.cores, khatri_rao.cores_backward, core1, core2)


def test_a_large_gradient_taken_row_by_row_gives_the_same_sums(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(khatri_rao, "_LARGE", 0)
    check_gradients(khatri_rao.rows, khatri_rao.rows_backward, random(3, 4, 2), random(5, 4, 2))

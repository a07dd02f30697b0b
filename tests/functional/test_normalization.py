"""The norm of an update, computed from its factors, is the norm of its matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lycoris_ext.functional import Delta, Dense, Hadamard, Kron, LayerSpec, LowRank, gram

size, rank = st.integers(1, 7), st.integers(1, 5)
kernels = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def low_rank(layer: LayerSpec, rank: int, core: bool, scale: float = 1.0) -> LowRank:
    up, kernel = random(layer.out_features, rank), layer.kernel
    if core:
        return LowRank(
            layer, scale, up, random(rank, layer.in_features), random(rank, rank, *kernel)
        )
    return LowRank(layer, scale, up, random(rank, layer.in_features, *kernel))


def check(delta: Delta) -> None:
    torch.testing.assert_close(delta.norm(), delta.dense().norm(), rtol=1e-12, atol=0)


@settings(max_examples=60)
@given(size, size, kernels, rank, rank, st.booleans())
def test_the_norm_of_an_update_is_that_of_its_matrix(
    out: int, width: int, kernel: tuple[int, ...], r1: int, r2: int, core: bool
) -> None:
    layer = LayerSpec(out, width, kernel)
    core = core and bool(kernel)  # a Linear has none
    first, second = low_rank(layer, r1, core), low_rank(layer, r2, core)
    check(first.scaled(-0.7))
    check(Hadamard(layer, 1.3, first, second))
    check(Hadamard(layer, 1.3, first, second).scaled(torch.tensor(-2.0)))
    outer = LayerSpec(3, 2)
    whole = LayerSpec(3 * out, 2 * width, kernel)
    check(Kron(whole, 0.5, Dense(outer, 1.0, random(3, 2)), second))
    for delta in (first, Hadamard(layer, 1.0, first, second)):
        check(delta.scaled(random(out)))  # a number for each row


@pytest.mark.parametrize("r", [2, 40])
def test_both_ways_to_the_norm_of_a_loha_agree_and_the_cheaper_one_runs(
    r: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LayerSpec(300, 200)
    delta = Hadamard(layer, 1.0, low_rank(layer, r, False), low_rank(layer, r, False))
    factors = (delta.first.up, delta.first.down, delta.second.up, delta.second.down)
    torch.testing.assert_close(gram.hadamard(*factors), gram.hadamard_by_rows(*factors))
    ran = []
    for name in ("hadamard", "hadamard_by_rows"):
        monkeypatch.setattr(gram, name, lambda *_, name=name: ran.append(name) or torch.ones(()))
    delta.norm()
    assert ran == ["hadamard" if r == 2 else "hadamard_by_rows"]


def test_the_norm_of_a_loha_is_the_same_with_rows_taken_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors = (random(11, 3), random(3, 5), random(11, 3), random(3, 5))
    whole = gram.hadamard_by_rows(*factors)
    monkeypatch.setattr(gram, "_NUMBERS", 10)
    torch.testing.assert_close(gram.hadamard_by_rows(*factors), whole)


def test_the_norm_of_a_lora_or_a_small_loha_builds_no_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = LayerSpec(640, 640)
    lora, other = low_rank(layer, 8, False), low_rank(layer, 8, False)
    deltas = [lora, Hadamard(layer, 1.0, lora, other)]
    for kind in (LowRank, Hadamard):
        monkeypatch.setattr(kind, "matrix", None)
    assert all(float(delta.norm()) > 0 for delta in deltas)

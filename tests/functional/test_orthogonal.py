"""Rotations of diag-OFT and BOFT: orthogonal at any size, exact where they are small."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lycoris_ext.functional import BlockRotation, Butterfly, Rescaled, cayley


def random_blocks(*shape: int, std: float = 0.3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype) * std


def test_cayley_makes_rotations() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    for std in (1e-3, 0.3, 100.0):
        rotation = cayley(random_blocks(7, 4, 4, std=std)) + eye
        torch.testing.assert_close(rotation @ rotation.mT, eye.expand(7, 4, 4))
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(7, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_rotations_keep_their_digits(dtype: torch.dtype) -> None:
    """Computing (I + Q)(I - Q)^-1 - I would leave no correct digit."""
    blocks = random_blocks(5, 8, 8, std=1e-9).to(dtype)
    wanted = cayley(blocks.double())
    found = cayley(blocks)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()


def test_the_constraint_limits_the_norm_of_all_blocks_together() -> None:
    blocks = random_blocks(5, 8, 8, std=1e-4)
    length = (blocks - blocks.mT).norm()
    for limit in (float(length) * 1.01, 0.0):
        assert torch.equal(cayley(blocks, limit), cayley(blocks))
    found = cayley(blocks, float(length) / 3)
    torch.testing.assert_close(found, cayley(blocks / 3), rtol=1e-5, atol=1e-12)


def test_blocks_at_zero_have_a_finite_gradient_under_a_constraint() -> None:
    blocks = torch.zeros(3, 4, 4, requires_grad=True)
    (cayley(blocks, 0.1) * random_blocks(3, 4, 4)).sum().backward()
    assert blocks.grad is not None and blocks.grad.isfinite().all() and blocks.grad.abs().max() > 0


def butterfly(shifts: Tensor) -> Tensor:
    """Return the matrix of a butterfly, built stage by stage and channel by channel."""
    stages, blocks, size, _ = shifts.shape
    width = blocks * size
    product = torch.eye(width, dtype=shifts.dtype)
    for stage in range(stages):
        apart = 2**stage * size // 2
        matrix = torch.zeros(width, width, dtype=shifts.dtype)
        # the channels in the order in which this stage's blocks take them
        order = [
            first + place + other * apart
            for first in range(0, width, 2 * apart)
            for place in range(apart)
            for other in range(2)
        ]
        for block in range(blocks):
            taken = order[block * size : (block + 1) * size]
            for row, channel in enumerate(taken):
                matrix[channel, taken] = shifts[stage, block, row]
        product = (matrix + torch.eye(width, dtype=shifts.dtype)) @ product
    return product


@pytest.mark.parametrize("shape", [(1, 1, 6, 6), (2, 2, 10, 10), (4, 8, 4, 4), (3, 4, 2, 2)])
def test_a_butterfly_is_the_product_of_its_stages(shape: tuple[int, ...]) -> None:
    shifts = cayley(random_blocks(*shape))
    width = shape[1] * shape[2]
    eye = torch.eye(width, dtype=torch.float64)
    wanted = butterfly(shifts)
    torch.testing.assert_close(Butterfly(shifts).planes(eye) + eye, wanted)
    assert (wanted.abs() > 1e-12).all()  # every channel has met every other
    y = torch.randn(2, 3, width, dtype=torch.float64)
    torch.testing.assert_close(Butterfly(shifts).shift(y), y @ (wanted - eye).T)
    torch.testing.assert_close(Butterfly(shifts).pull(y), y @ (wanted - eye))


def test_a_small_butterfly_keeps_its_digits_in_bfloat16() -> None:
    shifts = cayley(random_blocks(4, 8, 4, 4, std=1e-5))
    y = torch.randn(64, 32)
    wanted = Butterfly(shifts).shift(y.double())
    found = Butterfly(shifts).shift(y.bfloat16()).double()
    assert (found - wanted).norm() <= 0.01 * wanted.norm()


def test_rescaling_comes_after_the_rotation() -> None:
    shifts, lengths = cayley(random_blocks(3, 4, 4)), random_blocks(12)
    eye = torch.eye(12, dtype=torch.float64)
    rotation = BlockRotation(shifts).planes(eye) + eye
    found = Rescaled(lengths, BlockRotation(shifts)).planes(eye) + eye
    torch.testing.assert_close(found, lengths.diag() @ rotation)

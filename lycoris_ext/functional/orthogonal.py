"""Rotations R of a layer's channels, stored as R - I; docs/algorithms/diag-oft.md and boft.md.

The Cayley transform makes a rotation of a skew-symmetric matrix Q = A - A^T:

    R = (I + Q)(I - Q)^-1        R - I = 2 (I - Q)^-1 Q

I - Q can always be inverted, since the eigenvalues of Q are imaginary. R - I is as small as Q and
as exact: nothing is subtracted from a number near 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from lycoris_ext.functional.maps import PASSES, ChannelMap


def cayley(
    blocks: Annotated[Tensor, "*any block block"], limit: float = 0.0
) -> Annotated[Tensor, "*any block block"]:
    """Turn each trained matrix A into R - I of its rotation.

    Args:
        blocks: A, (..., block, block).
        limit: the largest Frobenius norm that the skew matrices Q may have together; if they exceed
            it, all are scaled down. 0: no limit.

    Returns:
        R - I, shaped like ``blocks``, in at least float32.
    """
    blocks = blocks.to(torch.promote_types(blocks.dtype, torch.float32))
    skew = blocks - blocks.mT
    if limit > 0:
        norm = torch.linalg.vector_norm(skew) + 1e-8  # the readers' own guard: part of the format
        skew = skew * (limit / norm.clamp(min=limit))
    eye = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
    # torch.linalg.solve would wait for the device to report singular matrices; these never are.
    shift, _ = torch.linalg.solve_ex(eye - skew, 2 * skew)
    return shift  # type: ignore[no-any-return]


@dataclass(frozen=True)
class BlockRotation(ChannelMap):
    """A map that rotates each block of neighbouring channels by a rotation of its own (OFT).

    Attributes:
        shifts: (blocks, block, block), R - I of each block.
    """

    shifts: Annotated[Tensor, "blocks block block"]

    def planes(self, y: Tensor) -> Tensor:
        return _turned(self.shifts, y.unflatten(-2, tuple(self.shifts.shape[:2]))).flatten(-3, -2)

    def cost(self, channels: int) -> int:
        return channels * (int(self.shifts.shape[-1]) + PASSES)


@dataclass(frozen=True)
class Butterfly(ChannelMap):
    """A map of several stages of block rotations, one after the other (BOFT).

    At stage s each block rotates two half blocks of channels that lie 2^s half blocks apart, so
    that after the last stage every channel has been mixed with every other.

    Attributes:
        shifts: (stages, blocks, block, block), R - I of each block. The block size is even; rows
            and columns alternate between the channels of the two halves.
    """

    shifts: Annotated[Tensor, "stages blocks block block"]

    def planes(self, y: Tensor) -> Tensor:
        half = self.shifts.shape[-1] // 2
        total: Tensor | None = None  # the product minus I, on y: small where the rotations are
        for stage, shifts in enumerate(self._halves().unbind()):
            so_far = y if total is None else y + total
            # (..., pairs of runs, which of the two, half block, channel in it, positions)
            runs = so_far.unflatten(-2, (-1, 2, 2**stage, half)).transpose(-4, -3)
            step = _turned(shifts, runs.flatten(-5, -4).flatten(-3, -2))
            step = step.unflatten(-3, (-1, 2**stage)).unflatten(-2, (2, half))
            step = step.transpose(-4, -3).flatten(-5, -2)
            total = step if total is None else total + step
        assert total is not None  # there is a stage
        return total

    def _halves(self) -> Tensor:
        """Reorder rows and columns of the blocks from alternating halves to one after the other."""
        stages, blocks, size, _ = self.shifts.shape
        half = size // 2
        turns = self.shifts.reshape(stages, blocks, half, 2, half, 2)
        return turns.permute(0, 1, 3, 2, 5, 4).reshape(stages, blocks, size, size)

    def cost(self, channels: int) -> int:
        stages, *_, size = self.shifts.shape
        return channels * int(stages) * (int(size) + PASSES)


@dataclass(frozen=True)
class Rescaled(ChannelMap):
    """Another map, followed by a factor for each channel: M = diag(lengths) inner.

    Attributes:
        lengths: (channels,), the factors.
        inner: the map that is applied first.
    """

    lengths: Annotated[Tensor, "channels"]
    inner: ChannelMap

    def planes(self, y: Tensor) -> Tensor:
        lengths = self.lengths.unsqueeze(1)
        return y * (lengths - 1).to(y.dtype) + self.inner.planes(y) * lengths.to(y.dtype)

    def cost(self, channels: int) -> int:
        return self.inner.cost(channels) + 2 * channels


def _turned(shifts: Tensor, runs: Tensor) -> Tensor:
    """Multiply each block of channels by its matrix.

    Args:
        shifts: (blocks, block, block).
        runs: (..., blocks, block, positions).
    """
    # With the positions innermost: small blocks are up to eight times faster so, measured on a CPU.
    turned: Tensor = shifts.to(runs.dtype) @ runs.contiguous()
    return turned

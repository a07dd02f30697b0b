"""Find pictures that look nearly the same, by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from lycoris_ext.data.measures import Measures

MOST_BITS = 4
"""How many of 64 bits may differ. Photographs of one thing differ in 6 or more, drawings that were
scaled, saved again or painted over in 0 to 4."""
MOST_TONES = 6.0
"""How much the colours of 8 x 8 fields may differ on average, in steps of 8 bits, when both
pictures are made equally light."""
_BITS = 64
_ROWS = 256
_TRIED = 16
"""How many earlier pictures of similar hashes a picture is compared with."""


def near_copies(seen: Sequence[Measures]) -> dict[int, int]:
    """Find each picture that looks nearly as an earlier one.

    All pairs of hashes are compared, as products of matrices of signs: 100,000 pictures take some
    20 seconds of one core.

    Args:
        seen: the measures of all pictures.

    Returns:
        Position of a picture -> that of the earlier one, which looks like none before it itself.
    """
    found: dict[int, int] = {}
    signs = _signs(seen)
    first = torch.empty(0, dtype=torch.int64)
    for block in torch.arange(len(seen)).split(_ROWS):
        others = torch.cat([first, block])
        near = signs[block] @ signs[others].T >= _BITS - 2 * MOST_BITS
        near &= others < block[:, None]
        for row in near.any(1).nonzero().flatten().tolist():
            number = int(block[row])
            for other in others[near[row]][:_TRIED].tolist():
                if other not in found and _same_tones(seen[number], seen[other]):
                    found[number] = other
                    break
        first = torch.cat([first, block[[one not in found for one in block.tolist()]]])
    return found


def _signs(seen: Sequence[Measures]) -> Tensor:
    """Return the bits of hashes as -1 and 1, float32 [N, 64]; products tell their distances."""
    looks = torch.tensor([_signed(one.look) for one in seen], dtype=torch.int64)
    bits = looks[:, None] >> torch.arange(_BITS) & 1
    return bits.to(torch.float32) * 2 - 1


def _signed(look: int) -> int:
    return look - (1 << _BITS) if look >> (_BITS - 1) else look


def _same_tones(one: Measures, other: Measures) -> bool:
    """Tell whether two pictures have the same colours in the same places, however light."""
    apart = [
        a - b for a, b in zip(bytes.fromhex(one.tones), bytes.fromhex(other.tones), strict=True)
    ]
    shift = fmean(apart)
    return fmean(abs(each - shift) for each in apart) <= MOST_TONES

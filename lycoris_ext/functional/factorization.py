"""How LoKr, OFT and BOFT split a width into two factors."""

from __future__ import annotations

from math import isqrt


def factorization(width: int, factor: int = -1) -> tuple[int, int]:
    """Two factors of ``width``, the smaller one first.

    Args:
        factor: one of the two where it divides the width; else the smaller one is the largest
            divisor that exceeds neither ``factor`` nor the root; -1: as square as possible.

    Source: LyCORIS, Yeh et al. 2023, arXiv:2309.14859, appendix on LoKr.
    """
    if factor > 0 and width % factor == 0:
        return min(factor, width // factor), max(factor, width // factor)
    largest = isqrt(width) if factor < 0 else min(factor, isqrt(width))
    smaller = next(divisor for divisor in range(max(largest, 1), 0, -1) if width % divisor == 0)
    return smaller, width // smaller


def butterfly_factorization(width: int, largest: int) -> tuple[int, int] | None:
    """(block, blocks): the largest even block whose number is a power of two.

    Args:
        largest: what the block may not exceed.

    Returns:
        None where there is none; ``smallest_butterfly`` says what would do.

    Source: BOFT, Liu et al. 2023, arXiv:2311.06243; the sizes are LyCORIS's.
    """
    block = smallest_butterfly(width)
    if block is None or block > largest:
        return None
    while 2 * block <= largest and width % (2 * block) == 0:
        block *= 2
    return block, width // block


def smallest_butterfly(width: int) -> int | None:
    """The smallest even block whose number is a power of two; None for an odd width."""
    if width % 2:
        return None
    return 2 * (width // (width & -width))

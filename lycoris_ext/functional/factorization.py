"""How LoKr, OFT and BOFT split a number of channels into two factors."""

from __future__ import annotations

from math import isqrt


def factorization(width: int, factor: int = -1) -> tuple[int, int]:
    """Split ``width`` into two whole factors whose product it is, the smaller one first.

    Args:
        width: a number of channels.
        factor: if it divides the width, it is one of the two factors. Otherwise the smaller factor
            is the largest divisor of the width that exceeds neither ``factor`` nor the square root
            of the width. -1: the two factors are as close to each other as possible.

    Source: LyCORIS, Yeh et al. 2023, arXiv:2309.14859, appendix on LoKr.
    """
    if factor > 0 and width % factor == 0:
        return min(factor, width // factor), max(factor, width // factor)
    largest = isqrt(width) if factor < 0 else min(factor, isqrt(width))
    smaller = next(divisor for divisor in range(max(largest, 1), 0, -1) if width % divisor == 0)
    return smaller, width // smaller


def butterfly_factorization(width: int, largest: int) -> tuple[int, int] | None:
    """Split ``width`` channels into equal blocks for BOFT, as large as ``largest`` allows.

    Args:
        width: a number of channels.
        largest: the most channels that a block may have.

    Returns:
        (channels of a block, number of blocks): the former is even, the latter a power of two.
        None if the width is odd or ``largest`` is below ``smallest_butterfly(width)``.

    Source: BOFT, Liu et al. 2023, arXiv:2311.06243; the sizes are LyCORIS's.
    """
    block = smallest_butterfly(width)
    if block is None or block > largest:
        return None
    while 2 * block <= largest and width % (2 * block) == 0:
        block *= 2
    return block, width // block


def smallest_butterfly(width: int) -> int | None:
    """Return the smallest even block size that divides ``width`` into a power of two of blocks.

    None if the width is odd.
    """
    if width % 2:
        return None
    return 2 * (width // (width & -width))

"""How LoKr splits a width into two factors."""

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

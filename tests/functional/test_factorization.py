"""Widths are factorized as lycoris-lora factorizes them."""

from __future__ import annotations

from lycoris import functional as peer
from lycoris.functional import general

from lycoris_ext.functional import butterfly_factorization, factorization, smallest_butterfly


def test_factors_of_a_width_are_those_of_lycoris() -> None:
    for width in (*range(1, 200), 320, 640, 768, 1280, 2560, 3072, 5120, 10240, 49408):
        for factor in (-1, *range(1, 34), 64, 320):
            assert factorization(width, factor) == peer.factorization(width, factor), (
                width,
                factor,
            )


def test_butterfly_sizes_of_a_width_are_those_of_lycoris() -> None:
    for width in (*range(1, 200), 320, 640, 768, 1280, 2560, 10240):
        works = [
            largest
            for largest in (*range(1, 34), 64, 320, width)
            if butterfly_factorization(width, largest) is not None
        ]
        for largest in (*range(1, 34), 64, 320, width):
            found, wanted = butterfly_factorization(width, largest), None
            if largest in works:
                wanted = general.power2factorization(width, largest)
            else:
                assert general.power2factorization(width, largest)[1] == 0
            assert found == wanted, (width, largest)
        smallest = smallest_butterfly(width)
        assert (smallest is None) == (width % 2 == 1)
        assert all(largest >= (smallest or width + 1) for largest in works)
        assert smallest is None or butterfly_factorization(width, smallest) is not None

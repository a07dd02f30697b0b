"""LoKr's factors are the peer's, for every width and factor."""

from __future__ import annotations

import pytest

from lycoris_ext.functional import factorization

peer = pytest.importorskip("lycoris.functional", reason="lycoris-lora is a test dependency")


def test_factors_are_those_of_lycoris() -> None:
    for width in (*range(1, 200), 320, 640, 768, 1280, 2560, 3072, 5120, 10240, 49408):
        for factor in (-1, *range(1, 34), 64, 320):
            assert factorization(width, factor) == peer.factorization(width, factor), (
                width,
                factor,
            )

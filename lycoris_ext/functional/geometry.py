"""What the ways to compute a convolution ask of its layer, so that they need not import it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Geometry(Protocol):
    """The sizes of a convolution, as ``LayerSpec`` has them."""

    @property
    def in_features(self) -> int:
        """Input channels that one row of the weight sees."""

    @property
    def kernel(self) -> tuple[int, ...]: ...

    @property
    def stride(self) -> tuple[int, ...]: ...

    @property
    def padding(self) -> tuple[int, ...]: ...

    @property
    def dilation(self) -> tuple[int, ...]: ...

    @property
    def groups(self) -> int: ...

    def tokens(self, x: Tensor) -> int:
        """How many output positions the input x has, over the whole batch."""

    def positions(self, x: Tensor) -> tuple[int, ...]:
        """Sides of the output for the input x."""

"""The sizes of a convolution as a protocol, so that its kernels need not import ``LayerSpec``."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Geometry(Protocol):
    """The sizes of a convolution; ``LayerSpec`` has them all."""

    @property
    def in_features(self) -> int:
        """Input channels that one output channel reads: in_channels / groups."""

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
        """Return the number of output positions for the input x, over the whole batch."""

    def positions(self, x: Tensor) -> tuple[int, ...]:
        """Return the height and width of the output for the input x."""

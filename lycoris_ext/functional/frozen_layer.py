"""The frozen layer that an update belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional.layer import LayerSpec


@dataclass
class FrozenLayer:
    """What an update that depends on its layer may ask of it. Made anew for each forward and kept
    by nobody: an adapter that held its layer would be pickled and moved with it.

    Attributes:
        layer: its shapes.
        stored: the weight as the module holds it; packed in a quantised one.
        bias: (out,), if there is one.
        forward: the module's own forward, which pads and adds the bias.
        out: what ``forward`` returned for the input at hand, where it was called.
        origin: where the adapter's tensors started, where its update is relative to that and
            somebody has kept it.
        timesteps: (batch,) of the samples at hand, where a training step has said so.
    """

    layer: LayerSpec
    stored: Tensor
    bias: Annotated[Tensor, "out"] | None
    forward: Callable[[Tensor], Tensor]
    out: Tensor | None = None
    origin: Mapping[str, Tensor] | None = None
    timesteps: Annotated[Tensor, "batch"] | None = None

    @classmethod
    def of(
        cls,
        module: nn.Module,
        layer: LayerSpec,
        forward: Callable[[Tensor], Tensor] | None = None,
    ) -> FrozenLayer:
        """Of a module; ``forward`` where another has taken its forward's place."""
        stored, bias = module.weight, getattr(module, "bias", None)  # RMSNorm has none
        assert isinstance(stored, Tensor) and (bias is None or isinstance(bias, Tensor))
        return cls(layer, stored, bias, forward or module.forward)

    @property
    def has_weight(self) -> bool:
        """False where the weight is packed (8-bit, NF4, fp8): only ``forward`` can read it."""
        return self.layer.holds(self.stored)

    @property
    def weight(self) -> Tensor:
        """The weight, ``layer.weight_shape``.

        Raises:
            ShapeError: it is packed.
        """
        if not self.has_weight:
            raise ShapeError(
                f"the weight is packed ({self.stored.dtype}, {tuple(self.stored.shape)}), "
                f"and this needs its numbers {self.layer.weight_shape}",
                fix="use a base model that is not quantised, or another algorithm",
            )
        return self.stored

    def op(self, x: Tensor) -> Tensor:
        """The layer without its bias, on any input already padded by ``layer.pad``."""
        if self.has_weight:
            return self.layer.op(x, self.weight.to(x.dtype))
        return self._without_bias(self.forward(x))  # packed layers are Linear: nothing is padded

    def plain(self, x: Tensor) -> Tensor:
        """``op`` on the input at hand, at no cost where the layer was called."""
        return self.op(x) if self.out is None else self._without_bias(self.out)

    def _without_bias(self, out: Tensor) -> Tensor:
        if self.bias is None:
            return out
        return out - self.layer.over_positions(self.bias).to(out.dtype)

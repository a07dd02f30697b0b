"""The frozen layer of the base model that an update belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional.layer import PLAIN, LayerSpec


@dataclass
class FrozenLayer:
    """The base layer, as updates that depend on its weight or output see it.

    A new one is made for each forward call and dropped afterwards: an adapter that held its layer
    would be pickled and moved to devices together with it.

    Attributes:
        layer: the layer's shapes.
        stored: the weight as the module holds it; in a quantised module its numbers are packed.
        bias: (out,), or None.
        forward: the module's own forward, which pads its input and adds the bias.
        out: what ``forward`` returned in this call, or None if it was not called.
        origin: the initial values of the adapter's trained tensors, for algorithms whose update is
            the difference from them (T-LoRA); None if they were not stored.
        timesteps: (batch,) timesteps of the noisy samples, or None if the caller has not set them.
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
        """Describe a module.

        Args:
            module: a Linear, convolution or normalisation.
            layer: its shapes.
            forward: the original forward, if ``module.forward`` has been replaced by an adapter's.
        """
        stored, bias = module.weight, getattr(module, "bias", None)  # RMSNorm has none
        assert isinstance(stored, Tensor) and (bias is None or isinstance(bias, Tensor))
        if bias is not None and type(bias) not in PLAIN:
            bias = bias.as_subclass(Tensor)  # else the outputs of the layer would be of its class
        return cls(layer, stored, bias, forward or module.forward)

    @property
    def has_weight(self) -> bool:
        """False if the weight is quantised (8-bit, NF4, fp8), so that only ``forward`` reads it."""
        return self.layer.holds(self.stored)

    @property
    def weight(self) -> Tensor:
        """The weight with its outputs first, ``layer.weight_shape``.

        Raises:
            ShapeError: the weight is quantised.
        """
        if not self.has_weight:
            raise ShapeError(
                f"the weight is quantised ({self.stored.dtype}, {tuple(self.stored.shape)}), "
                f"and this algorithm reads its numbers {self.layer.weight_shape}",
                fix="use a base model that is not quantised, or another algorithm",
            )
        return self.layer.outputs_first(self.stored)

    def op(self, x: Tensor) -> Tensor:
        """Apply the base layer without its bias.

        Call ``layer.pad`` on x first: it adds the padding that a convolution cannot do itself
        (reflect, replicate, circular, asymmetric). Ordinary zero padding happens here.
        """
        if self.has_weight:
            return self.layer.op(x, self.weight.to(x.dtype))
        return self._without_bias(self.forward(x))  # packed layers are Linear: nothing is padded

    def output_without_bias(self, x: Tensor) -> Tensor:
        """Return ``op(x)`` for the input of this call; free of cost if ``out`` is known."""
        return self.op(x) if self.out is None else self._without_bias(self.out)

    def _without_bias(self, out: Tensor) -> Tensor:
        if self.bias is None:
            return out
        return out - self.layer.over_positions(self.bias).to(out.dtype)

"""Normalisation layers and their updates.

A normalisation is linear in its weight and bias, so that an update of both can be applied and
merged like that of any other layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional.delta import Delta
from lycoris_ext.functional.layer import LayerSpec

# torch before 2.4 has no RMSNorm.
_RMS = (nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()
NORMS = (nn.LayerNorm, nn.GroupNorm, *_RMS)


@dataclass(frozen=True)
class NormSpec(LayerSpec):
    """The description of a LayerNorm or RMSNorm over the last axis, or of a GroupNorm.

    ``out_features`` is the number of channels; the layer has one weight for each.

    Attributes:
        kind: "layer", "rms" or "group".
        channel_groups: number of groups of a GroupNorm.
        eps: added to the variance; None: the machine epsilon of the input's dtype.
    """

    kind: str = "layer"
    channel_groups: int = 1
    eps: float | None = 1e-5

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Return True for a normalisation with one weight for each channel of one axis."""
        weight = getattr(module, "weight", None)
        return isinstance(module, NORMS) and isinstance(weight, Tensor) and weight.ndim == 1

    @classmethod
    def from_module(cls, module: nn.Module) -> NormSpec:
        """Read the description of a normalisation module.

        Raises:
            ShapeError: the module is no normalisation, or has no weight for each channel.
        """
        if not cls.supports(module):
            raise ShapeError(
                f"{type(module).__name__} is no normalisation with a weight for each channel",
                fix="choose other target layers",
            )
        group = isinstance(module, nn.GroupNorm)
        return cls(
            out_features=module.weight.numel(),  # type: ignore[operator]
            in_features=1,
            has_bias=getattr(module, "bias", None) is not None,
            kind="group" if group else "layer" if isinstance(module, nn.LayerNorm) else "rms",
            channel_groups=module.num_groups if isinstance(module, nn.GroupNorm) else 1,
            eps=module.eps,  # type: ignore[arg-type]
        )

    @property
    def is_norm(self) -> bool:
        return True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight: (channels,)."""
        return (self.out_features,)

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return weight * normalised x + bias.

        Args:
            x: (..., channels), or (batch, channels, *spatial) for a GroupNorm.
            weight: (channels,).
            bias: (channels,), or None.
        """
        if self.kind == "group":
            return F.group_norm(x, self.channel_groups, weight, bias, self.eps)  # type: ignore[arg-type]
        if self.kind == "layer":
            return F.layer_norm(x, self.weight_shape, weight, bias, self.eps)  # type: ignore[arg-type]
        out = F.rms_norm(x, self.weight_shape, weight, self.eps)
        return out if bias is None else out + bias

    def tokens(self, x: Tensor) -> int:
        return x.numel() // self.out_features


@dataclass(frozen=True)
class Affine(Delta):
    """An update of a normalisation's weight and perhaps of its bias.

    Unlike ``Recomputed`` updates it leaves the backward pass to autograd, since everything that
    autograd keeps is as small as the trained tensors.

    Attributes:
        weight: (channels,), the difference that is added to the weight.
        of_bias: (channels,), the difference that is added to the bias, or None.
    """

    weight: Annotated[Tensor, "out"]
    of_bias: Annotated[Tensor, "out"] | None = None

    def dense(self) -> Tensor:
        return self.weight * self.scale

    def bias(self) -> Tensor | None:
        return None if self.of_bias is None else self.of_bias * self.scale

"""A low-rank product whose ranks are switched on and off for each sample of a batch (T-LoRA)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional.delta import Delta
from lycoris_ext.functional.layer import mix_channels


@dataclass(frozen=True)
class Gated(Delta):
    """The update up @ diag(gates) @ down, with other gates for each sample of the batch.

    Each sample has an update of its own, so only the path "chain" can apply it to a batch;
    ``dense`` works for a batch of one.

    Attributes:
        up: (out, rank).
        down: (rank, in, *kernel).
        gates: (batch, rank), the factor of each rank: 1 for on, 0 for off; or (1, rank) for a batch
            of any size.
    """

    up: Annotated[Tensor, "out rank"]
    down: Annotated[Tensor, "rank in *kernel"]
    gates: Annotated[Tensor, "batch rank"]

    def dense(self) -> Tensor:
        if len(self.gates) != 1:
            raise ShapeError(f"each of the {len(self.gates)} samples has an update of its own")
        matrix = (self.up * self.gates) @ self.down.flatten(1)
        update = matrix.reshape(self.layer.weight_shape)
        return update * self._row_scale(update.ndim - 1)

    def thin_cost(self) -> int:
        return len(self.down) * (self.layer.fan_in + self.layer.out_features)

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        return "chain"

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        layer = self.layer
        if len(self.gates) not in (1, len(x)):
            raise ShapeError(
                f"{len(self.gates)} samples have timesteps, the layer has an input of shape "
                f"{tuple(x.shape)}",
                fix="exclude the layer, or use another algorithm",
            )
        gates = self.gates.expand(len(x), -1)
        if layer.groups != 1:  # a thin product would mix the groups
            update = torch.cat(
                [
                    layer.op(sample, replace(self, gates=own).dense().to(x.dtype))
                    for sample, own in zip(x.split(1), gates.split(1), strict=True)
                ]
            )
            return update if base_out is None else base_out + update
        spatial = len(layer.kernel)
        gates = gates.reshape(len(x), *[1] * (x.ndim - 2 - spatial), -1, *[1] * spatial)
        thin = layer.op(x, self.down.to(x.dtype)) * gates.to(x.dtype)
        up = self.up * (self._row_scale(1) if torch.is_tensor(self.scale) else 1.0)
        if not torch.is_tensor(self.scale):
            thin = thin * self.scale
        update = mix_channels(thin, up.to(x.dtype), layer.is_conv)
        return update if base_out is None else base_out + update

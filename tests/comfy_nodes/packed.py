"""A small stand-in of the layers with which ComfyUI-GGUF holds weights in packed form.

As there, the tensor says the shape that it has unpacked, copies of it are itself, and the
state_dict holds tensors without numbers. The numbers are rounded to 1/64 in [-2, 2).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEP = 1.0 / 64.0


class PackedTensor(Tensor):
    tensor_shape: torch.Size

    @staticmethod
    def of(weight: Tensor) -> PackedTensor:
        """Pack a weight into a row of bytes."""
        numbers = (weight / STEP).round().clamp(-128, 127).to(torch.int8).view(torch.uint8)
        packed = numbers.reshape(-1).as_subclass(PackedTensor)
        packed.tensor_shape = weight.shape
        return packed

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        return getattr(self, "tensor_shape", None) or self.size()

    def detach(self) -> PackedTensor:
        return self

    def clone(self, *_: Any, **__: Any) -> PackedTensor:
        return self

    def to(self, *arguments: Any, **more: Any) -> PackedTensor:
        new = super().to(*arguments, **more)
        new.tensor_shape = self.shape
        return new

    def unpacked(self) -> Tensor:
        numbers = self.as_subclass(Tensor).view(torch.int8).float() * STEP
        return numbers.reshape(self.tensor_shape)


class PackedLayer(nn.Module):
    """Unpacks the weight in every forward; its biases have ComfyUI-GGUF's class, too."""

    weight: Any
    bias: Any

    def pack(self) -> None:
        self.weight = nn.Parameter(PackedTensor.of(self.weight.data), requires_grad=False)
        if self.bias is not None:
            bias = self.bias.data.as_subclass(PackedTensor)
            bias.tensor_shape = self.bias.shape
            self.bias = nn.Parameter(bias, requires_grad=False)

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        bias = None if self.bias is None else self.bias.as_subclass(Tensor)
        return self.weight.unpacked(), bias

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._parameters.items():
            if tensor is not None:
                destination[prefix + name] = torch.zeros(tensor.size(), device="meta")
        destination[f"{prefix}temp.weight"] = torch.zeros(1, device="meta")


class PackedLinear(PackedLayer, nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.numbers())


class PackedConv2d(PackedLayer, nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, *self.numbers())


def pack(model: nn.Module) -> None:
    """Turn the Linear and Conv2d layers of a model into packed ones of rounded weights."""
    for module in model.modules():
        if type(module) in (nn.Linear, nn.Conv2d):
            module.__class__ = PackedLinear if isinstance(module, nn.Linear) else PackedConv2d
            module.pack()  # type: ignore[operator]


def unpack(model: nn.Module) -> None:
    """Undo ``pack``, with the rounded weights."""
    for module in model.modules():
        if isinstance(module, PackedLayer):
            weight, bias = module.numbers()
            module.__class__ = nn.Linear if isinstance(module, nn.Linear) else nn.Conv2d
            module.weight = nn.Parameter(weight, requires_grad=False)
            module.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

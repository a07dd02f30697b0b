"""Matrix products, by whichever of torch's two CPU libraries is the faster one.

torch multiplies float32 matrices with MKL: 100 GFLOP/s on an AMD EPYC with AVX-512, against 220
with oneDNN, which computes convolutions. On an Intel Xeon with AVX-512 both reach 190; there oneDNN
takes 0.75 to 1 of MKL's time for a layer's forward pass, which reads the weight as it lies, but 1.2
to 1.7 for a gradient, before which it turns the weight round. No other processor was tried.

oneDNN's products cost ten microseconds a call and have no gradient of their own, and torch offers
them under an internal name only. So a product that is small, needs a gradient or is being compiled
is left to MKL, and so are all products if that name is missing.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris_ext.functional.autocast import is_autocasting

# (x, weight, bias, "none", [], "") -> F.linear(x, weight, bias)
_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_X86 = platform.machine() in ("x86_64", "AMD64")  # other processors have no MKL


def _made_by_intel() -> bool:
    """Return True if the processor is known to be Intel's, for which MKL is written."""
    described = Path("/proc/cpuinfo")
    about = described.read_text("utf-8", "replace") if described.is_file() else platform.processor()
    return "GenuineIntel" in about


_INTEL = _made_by_intel()
# From this number of multiplications oneDNN is worth its call (measured).
_WORTH = 2_000_000
# Sums shorter than this are bound by memory: MKL, which adds in place, is faster (measured).
_SHORT = 32
# A product with fewer columns than this is four times faster transposed (measured, MKL).
_FEW = 12


def mm(left: Annotated[Tensor, "m k"], right: Annotated[Tensor, "k n"]) -> Annotated[Tensor, "m n"]:
    """Return left @ right, (m, n)."""
    if _by_onednn(left, right):
        product: Tensor = _LINEAR(left, right.T, None, "none", [], "")
        return product
    return left @ right


def addmm(
    base: Annotated[Tensor, "m n"], left: Annotated[Tensor, "m k"], right: Annotated[Tensor, "k n"]
) -> Annotated[Tensor, "m n"]:
    """Return base + left @ right, (m, n)."""
    if left.shape[1] >= _SHORT and base.dtype == left.dtype and _by_onednn(left, right):
        return mm(left, right).add_(base)
    return torch.addmm(base, left, right)


def linear(
    x: Annotated[Tensor, "*rows k"],
    weight: Annotated[Tensor, "m k"],
    bias: Annotated[Tensor, "m"] | None = None,
) -> Annotated[Tensor, "*rows m"]:
    """Return x @ weight.T + bias, (..., m), as F.linear does."""
    flat = x.flatten(0, -2)
    learns = weight.requires_grad or (bias is not None and bias.requires_grad)
    if (learns and torch.is_grad_enabled()) or not _suits_onednn(flat, weight.T):
        return F.linear(x, weight, bias)
    if x.requires_grad and torch.is_grad_enabled():
        out: Tensor = _FrozenLinear.apply(x, weight, bias)
        return out
    product: Tensor = _LINEAR(flat, weight, bias, "none", [], "")
    return product.view(*x.shape[:-1], len(weight))


class _FrozenLinear(torch.autograd.Function):
    """``linear`` for a frozen weight and bias: only x gets a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return no_view(linear(x, weight, bias))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return linear(grad, weight.T), None, None


def no_view(out: Tensor) -> Tensor:
    """Return the tensor, sharing its memory, so that autograd does not take it for a view.

    A view that an autograd Function returns may not be changed in place, as an activation function
    after the layer may do.
    """
    own: Tensor = torch.ops.aten._unsafe_view(out, out.shape)
    return own


def mix(
    matrix: Annotated[Tensor, "m k"], planes: Annotated[Tensor, "batch k n"]
) -> Annotated[Tensor, "batch m n"]:
    """Return matrix @ planes for each sample, (batch, m, n), contiguous."""
    if planes.shape[2] < _FEW:
        return torch.matmul(planes.transpose(1, 2), matrix.T).transpose(1, 2).contiguous()
    if len(planes) == 1:
        return mm(matrix, planes[0]).unsqueeze(0)
    return torch.matmul(matrix, planes)


def add_mixed(
    base: Annotated[Tensor, "batch m n"],
    matrix: Annotated[Tensor, "m k"],
    planes: Annotated[Tensor, "batch k n"],
) -> Annotated[Tensor, "batch m n"]:
    """Return base + mix(matrix, planes), (batch, m, n)."""
    if len(planes) == 1:
        return addmm(base[0], matrix, planes[0]).unsqueeze(0)
    return torch.baddbmm(base, matrix.expand(len(base), -1, -1), planes)


def outer(
    left: Annotated[Tensor, "batch m n"], right: Annotated[Tensor, "batch k n"]
) -> Annotated[Tensor, "m k"]:
    """Return left @ right.T of each sample, summed over the batch: (m, k)."""
    if len(left) == 1:
        return mm(left[0], right[0].T)
    return torch.bmm(left, right.transpose(1, 2)).sum(0)


def _by_onednn(left: Tensor, right: Tensor) -> bool:
    needs_grad = torch.is_grad_enabled() and (left.requires_grad or right.requires_grad)
    return not needs_grad and _suits_onednn(left, right)


def _suits_onednn(left: Tensor, right: Tensor) -> bool:
    return (
        left.shape[0] * left.shape[1] * right.shape[1] >= _WORTH
        and left.shape[1] == right.shape[0]  # otherwise torch raises its own error
        and (not _INTEL or right.stride(0) == 1)
        # a repeated row has a step of 0 (a gradient of a mean), which takes it 1,000 times as long
        and all(left.stride())
        and all(right.stride())
        and onednn_knows(left, right)
    )


def onednn_knows(left: Tensor, right: Tensor) -> bool:
    """Return True if oneDNN can multiply these tensors, whatever their size."""
    return (
        _LINEAR is not None
        and _X86
        and left.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not is_autocasting("cpu")
        and bool(torch.backends.mkldnn.enabled)
    )

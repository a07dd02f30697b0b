"""Updates that are merged into the weight of a layer, and can be taken out again in any order.

A layer that has merged updates keeps its own weight and a copy of every update, in order:

    weight = own weight + update 1 + update 2 + ...

An update that reads the weight (DoRA, diag-OFT) reads what the updates before it made of it. When
an update is taken out, the sum of the others is computed anew; when the last one is taken out, the
layer gets its own weight back bit for bit. The record is an attribute of the module: all networks
find it there, and a copy or a pickle of the model takes it along. If somebody else changes the
weight, the record is void: nothing can be taken out any longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import Plan
from lycoris_ext.functional import Delta, FrozenLayer, LayerSpec
from lycoris_ext.functional.autocast import without_autocast
from lycoris_ext.functional.merge import add_delta
from lycoris_ext.modules.adapter_layer import AdapterLayer

_RECORD = "_lycoris_ext_merged"
_BYTES = 8  # of the whole numbers that a tensor's bits are read as


@dataclass(frozen=True)
class Mark:
    """By what a tensor is recognised: its layout, and the sum of its bits, the same on each device.

    The bits are read in the order of memory as whole numbers of 64 bits, which is ten times as fast
    as number by number.
    """

    dtype: torch.dtype
    strides: tuple[int, ...]
    bits: int

    @classmethod
    def of(cls, tensor: Tensor) -> Mark:
        """Read a tensor once."""
        order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
        flat = tensor.permute(order).reshape(-1)
        if flat.storage_offset() * flat.element_size() % _BYTES:
            flat = flat.clone()
        end = flat.numel() * flat.element_size() // _BYTES * _BYTES // flat.element_size()
        bits = int(flat[:end].view(torch.int64).sum()) if end else 0
        rest = flat[end:].view(torch.uint8).sum(dtype=torch.int64)
        return cls(tensor.dtype, tensor.stride(), bits + int(rest))

    def is_laid_out_as(self, tensor: Tensor) -> bool:
        """Return True if ``of`` reads the bits of this tensor in the same order."""
        return (self.dtype, self.strides) == (tensor.dtype, tensor.stride())


@dataclass(eq=False)
class MergedUpdate:
    """The update of one adapter, as it is when it is merged.

    Attributes:
        plan: the formula.
        tensors: key -> stored tensor.
        origin: as ``AdapterLayer`` keeps it.
        scalar: the trained number of the option use_scalar, or None.
        strength: the multiplier.
        lasts: it cannot be taken out: no network waits to do so.
    """

    plan: Plan
    tensors: Mapping[str, Tensor]
    origin: Mapping[str, Tensor]
    scalar: float | None
    strength: float
    lasts: bool = False

    @classmethod
    def of(cls, adapter: AdapterLayer, strength: float, lasts: bool) -> MergedUpdate:
        """Describe an adapter's update by its own tensors; ``copied`` copies them.

        Args:
            adapter: in any mode; dropouts and timesteps do not count.
            strength: takes the place of the adapter's multiplier.
            lasts: see above.
        """
        scalar = None if adapter.scalar is None else adapter.scalar.item()
        tensors = {key: tensor.detach() for key, tensor in adapter.tensors().items()}
        return cls(adapter.plan, tensors, adapter.origin(), scalar, strength, lasts)

    def copied(self) -> MergedUpdate:
        """Return an update that stays as it is when the adapter is trained further."""
        return replace(self, tensors={key: tensor.clone() for key, tensor in self.tensors.items()})

    def delta(self, base: FrozenLayer) -> Delta:
        """Return the update of a layer with this weight, on the weight's device."""
        device = base.stored.device
        if self.origin:
            base.origin = {key: tensor.to(device) for key, tensor in self.origin.items()}
        tensors = {key: tensor.to(device) for key, tensor in self.tensors.items()}
        return self.plan.delta(tensors, base, self.scalar).scaled(self.strength)


class MergedLayer:
    """A layer's own weight and bias, and the updates that are merged into it.

    Args:
        module: the layer, into which nothing is merged yet.
        spec: its shapes.
    """

    def __init__(self, module: nn.Module, spec: LayerSpec) -> None:
        self.module: Any = module
        self.spec = spec
        self.own = [tensor.detach().clone() for tensor in _numbers(module)]
        self.updates: list[MergedUpdate] = []
        self.marks: list[Mark] = []

    @classmethod
    def of(cls, module: nn.Module) -> MergedLayer | None:
        """Return the record of a layer; None if nothing is merged that could be taken out."""
        return module.__dict__.get(_RECORD)

    def add(self, update: MergedUpdate) -> None:
        """Add an update to the weight; after an error the weight is as it was before."""
        kept = update.copied()
        try:
            _add(_numbers(self.module), update, self.spec, self.module)
        except BaseException:  # memory is used up, or Ctrl-C
            self._write(self.updates)
            raise
        self.updates.append(kept)
        self._note()

    def drop(self, update: MergedUpdate) -> None:
        """Take an update out of the weight again; without it, the others are computed anew.

        Args:
            update: one of ``updates``.
        """
        others = [other for other in self.updates if other is not update]
        self._write(others)
        self.updates = others
        self._note()

    def forget(self) -> None:
        """Note that somebody else has put the old weight back: this record is void."""
        self.marks = []
        self.module.__dict__.pop(_RECORD, None)

    def is_intact(self) -> bool:
        """Return True if weight and bias are what the updates made of them, moved or cast at most.

        It takes one pass over the weight, or the work of a merge if the weight was cast.
        """
        now = _numbers(self.module)
        readable = self.spec.holds(now[0]) and not now[0].is_meta  # else quantised, or offloaded
        if not (self.marks and readable and len(now) == len(self.own)):
            return False
        if all(mark.is_laid_out_as(tensor) for mark, tensor in zip(self.marks, now, strict=True)):
            return [Mark.of(tensor) for tensor in now] == self.marks
        return all(map(_close, now, self._sum(self.updates, now[0].device)))

    def _note(self) -> None:
        """Note what the weight is now; leave the module if nothing can be taken out any longer."""
        if all(update.lasts for update in self.updates):
            self.module.__dict__.pop(_RECORD, None)
            return
        self.marks = [Mark.of(tensor) for tensor in _numbers(self.module)]
        self.module.__dict__[_RECORD] = self

    def _write(self, updates: list[MergedUpdate]) -> None:
        """Set the weight to the sum of these updates."""
        now = _numbers(self.module)
        wanted = self._sum(updates, now[0].device)
        for tensor, numbers in zip(now, wanted, strict=True):
            tensor.copy_(numbers)

    def _sum(self, updates: list[MergedUpdate], device: torch.device) -> list[Tensor]:
        if not updates:
            return self.own
        numbers = [tensor.to(device, copy=True) for tensor in self.own]
        for update in updates:
            _add(numbers, update, self.spec, self.module)
        return numbers


@torch.no_grad()
def merge_update(module: nn.Module, spec: LayerSpec, update: MergedUpdate) -> MergedUpdate | None:
    """Add an update to the weight and bias of a layer, in place.

    Args:
        module: the layer; its weight holds its own numbers (``LayerSpec.holds``).
        spec: its shapes.
        update: computed in float32, then rounded once.

    Returns:
        What ``MergedLayer.drop`` takes out again; None if the update lasts.
    """
    record = MergedLayer.of(module)
    if record is not None and not record.is_intact():
        record = None  # void: the weight that somebody has put there is the layer's own now
    if record is None and update.lasts:
        _add(_numbers(module), update, spec, module)
        return None
    record = record or MergedLayer(module, spec)
    record.add(update)
    return None if update.lasts else record.updates[-1]


def _add(numbers: list[Tensor], update: MergedUpdate, spec: LayerSpec, module: nn.Module) -> None:
    """Add an update to a weight, as the module stores it, and, if there is one, a bias."""
    weight, *biases = numbers
    forward = module.forward  # never called: the weight is not quantised
    # Autocast would compute the products of the factors in half precision.
    with without_autocast(weight.device.type):
        delta = update.delta(FrozenLayer(spec, weight, biases[0] if biases else None, forward))
        of_bias = delta.bias()
        add_delta(weight, delta)
        for bias in biases if of_bias is not None else ():
            assert of_bias is not None
            bias.copy_((bias.float() + of_bias.float()).to(bias.dtype))


def _numbers(module: nn.Module) -> list[Tensor]:
    """Return the layer's weight, and its bias if it has one."""
    found = (module.weight, getattr(module, "bias", None))
    return [tensor.detach() for tensor in found if isinstance(tensor, Tensor)]


def _close(now: Tensor, wanted: Tensor) -> bool:
    """Return True if two tensors are equal up to rounding in the first one's dtype."""
    allowed = 2 * torch.finfo(now.dtype).eps * wanted.abs().max()
    return bool((now.to(wanted.device, wanted.dtype) - wanted).abs().max() <= allowed)

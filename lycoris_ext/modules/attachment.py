"""Attach adapters to a module of the base model, by replacing its forward.

``module.forward`` is replaced by a callable object that holds the adapters. Unlike replacing the
whole module this keeps its state_dict keys, its class and its ``.weight``; unlike a hook it works
with torch.compile and can be pickled. Every adapter sees the original weight and output, so the
order of several adapters does not matter. When the last adapter is detached, the module is restored
as it was. No other code changes a module's forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import NORMS, FrozenLayer
from lycoris_ext.functional.autocast import is_autocasting
from lycoris_ext.functional.inputs_first import torch_kind
from lycoris_ext.functional.layer import PLAIN, LayerSpec
from lycoris_ext.modules.adapter_layer import AdapterLayer
from lycoris_ext.modules.fused import switch_off, switch_on

# Classes whose forward may be computed in another way, with W + update. A subclass (quantised,
# fused) keeps its forward, and the adapter's output is added to what it returns.
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *NORMS)


class Attachment:
    """The object that replaces ``module.forward`` while adapters are attached to a module."""

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module  # a layer with a weight
        # An instance attribute "forward" is a wrapper of the host program: it must be restored.
        self.shadowed = module.__dict__.get("forward")
        self.original = module.forward
        self.is_torchs = type(module) in _PLAIN and _is_torchs(type(module))
        self.adapters: list[AdapterLayer] = []
        self.fused: tuple[nn.Module, ...] = ()

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        adapters = [adapter for adapter in self.adapters if adapter.multiplier]
        if not adapters:
            return self.original(x, *args, **kwargs)
        layer, module = adapters[0].plan.layer, self.module
        if x.ndim == 1 + len(layer.kernel) and not layer.is_norm:
            return self(x.unsqueeze(0), *args, **kwargs).squeeze(0)  # one sample without a batch
        base = FrozenLayer.of(module, layer, self.original)
        deltas = [(adapter, adapter.delta(base)) for adapter in adapters]
        padded = layer.pad(x)
        tokens = layer.tokens(padded)
        is_plain = self._is_plain(x, layer)
        can_merge = is_plain and len(adapters) == 1 and not _drops(adapters[0])
        paths = [adapter.path(delta, tokens, can_merge) for adapter, delta in deltas]
        if paths == ["merged"]:
            return deltas[0][1].apply_merged(padded, base.stored, base.bias)
        if is_plain and not layer.is_norm:
            out = layer.op(padded, base.stored, base.bias)
        else:
            out = self.original(x, *args, **kwargs)
        base.out = out
        for (adapter, delta), path in zip(deltas, paths, strict=True):
            if _drops(adapter):
                update = delta.apply(padded.to(out.dtype), None, path)
                out = out + F.dropout(update, adapter.dropouts.dropout)
            else:
                out = delta.apply(padded, out, path)
        return out

    def _is_plain(self, x: Tensor, layer: LayerSpec) -> bool:
        """Return True if the module's output may be computed without calling its forward.

        That is so if the forward is torch's own, on frozen float32 weights without autocast.
        """
        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        return (
            self.is_torchs
            and self.shadowed is None
            and "_conv_forward" not in self.module.__dict__
            and (not layer.is_conv or LayerSpec.from_module(self.module) == layer)
            and type(weight) in PLAIN  # torchao packs weights without changing the module's class
            and weight.dtype == x.dtype == torch.float32  # bf16 would swallow small updates
            and not weight.requires_grad
            and not (bias is not None and bias.requires_grad)
            and not is_autocasting(x.device.type)
        )


class LinearAttachment(Attachment):
    """For layers whose output is linear in the weight and that ``op`` cannot compute.

    What an update adds to the output is what the module's own forward returns with the update in
    the place of weight and bias. So each option and argument of the module has its effect:
    ``output_size`` of a transposed convolution, ``offsets`` of an EmbeddingBag.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        out = self.original(*args, **kwargs)
        for adapter in (adapter for adapter in self.adapters if adapter.multiplier):
            layer, dtype = adapter.plan.layer, self.module.weight.dtype
            base = FrozenLayer.of(self.module, layer, self.original)
            delta = adapter.delta(base)
            bias = delta.bias()
            tensors = {
                "weight": layer.as_stored(delta.dense()).to(dtype),
                "bias": None if bias is None else bias.to(dtype),
            }
            update = _forward_with(self.module, tensors, *args, **kwargs).to(out.dtype)
            if _drops(adapter):
                update = F.dropout(update, adapter.dropouts.dropout)
            out = out + update
        return out


def _forward_with(
    module: nn.Module, tensors: Mapping[str, Tensor | None], *args: Any, **kwargs: Any
) -> Tensor:
    """Call the forward of torch's class on a copy of a module that has other tensors.

    The module itself is left alone, as threads may share it. Of a weight that is computed anew at
    every use (weight_norm, parametrize) the copy knows nothing.
    """
    kind = torch_kind(module)
    assert kind is not None
    copy = kind.__new__(kind)
    own = {name: value for name, value in module.__dict__.items() if name != "weight"}
    # Gradients of the trained factors are not sparse.
    copy.__dict__.update(own, _parameters=dict(tensors), sparse=False)
    out: Tensor = kind.forward(copy, *args, **kwargs)
    return out


def _is_torchs(kind: type[nn.Module]) -> bool:
    """Return True if no other program has replaced the forward of one of torch's classes.

    Programs that draw seamless textures replace it in single layers instead, or change padding.
    """
    functions = [kind.forward, getattr(kind, "_conv_forward", kind.forward)]
    homes = [getattr(function, "__globals__", {}).get("__name__", "") for function in functions]
    return all(home.startswith("torch.nn.modules.") for home in homes)


def _drops(adapter: AdapterLayer) -> bool:
    return adapter.training and adapter.dropouts.dropout > 0


def attach(module: nn.Module, adapter: AdapterLayer, fused: Sequence[nn.Module] = ()) -> Attachment:
    """Attach an adapter to a module, so that calls of the module use it.

    Args:
        module: the layer.
        adapter: for this layer.
        fused: modules around the layer that do not always call it (``fused_modules``).

    Returns:
        The object to pass to ``detach``.

    Raises:
        ConfigError: the adapter is attached to this module already.
    """
    attachment = module.forward
    if not isinstance(attachment, Attachment):
        kind = Attachment if adapter.plan.layer.has_op else LinearAttachment
        attachment = kind(module)
        module.forward = attachment
    if any(other is adapter for other in attachment.adapters):
        raise ConfigError(
            "the adapter is attached already", fix="remove the network before injecting it again"
        )
    if not attachment.adapters:
        attachment.fused = tuple(fused)
        for outer in fused:
            switch_off(outer)
    attachment.adapters.append(adapter)
    return attachment


def detach(attachment: Attachment, adapter: AdapterLayer) -> None:
    """Detach an adapter from its module; with the last adapter the module's forward is restored.

    If another program has wrapped the forward in the meantime, its wrapper stays, and calls the
    module's original forward through the attachment.

    Args:
        attachment: what ``attach`` returned.
        adapter: the one to detach.
    """
    attachment.adapters = [other for other in attachment.adapters if other is not adapter]
    module = attachment.module
    if not attachment.adapters:
        for outer in attachment.fused:
            switch_on(outer)
        attachment.fused = ()
    if attachment.adapters or module.forward is not attachment:
        return
    if attachment.shadowed is None:
        del module.forward
    else:
        module.forward = attachment.shadowed

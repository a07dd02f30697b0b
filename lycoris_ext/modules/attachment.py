"""The only code that touches a host module's forward.

``module.forward`` is replaced by a callable object that holds the adapters. Unlike a submodule
swap this keeps state_dict keys, isinstance and ``.weight``; unlike a hook it stays right under
torch.compile and pickles. Every adapter sees the original weight and output, so stacking has no
order. The last adapter to leave restores the module as it was.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import NORMS, FrozenLayer
from lycoris_ext.functional.layer import PLAIN, LayerSpec
from lycoris_ext.modules.adapter_layer import AdapterLayer

# Layers whose forward we know. A subclass (quantised, fused) keeps its own and is adapted on
# activations alone.
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *NORMS)


class Attachment:
    """Stands in for ``module.forward`` while adapters are attached to it."""

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module  # a layer with a weight
        # An instance attribute "forward" is a host's own wrapper: it must come back exactly.
        self.shadowed = module.__dict__.get("forward")
        self.original = module.forward
        self.is_torchs = type(module) in _PLAIN and _is_torchs(type(module))
        self.adapters: list[AdapterLayer] = []

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
        """Whether the module's forward is torch's own, with weights that learn nothing, in float32:
        then it may be computed in another way."""
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
            and not torch.is_autocast_enabled(x.device.type)
        )


def _is_torchs(kind: type[nn.Module]) -> bool:
    """Whether nobody has put a forward of theirs into torch's own class. Tiling puts one into
    single layers instead, or changes their padding."""
    functions = [kind.forward, getattr(kind, "_conv_forward", kind.forward)]
    homes = [getattr(function, "__globals__", {}).get("__name__", "") for function in functions]
    return all(home.startswith("torch.nn.modules.") for home in homes)


def _drops(adapter: AdapterLayer) -> bool:
    return adapter.training and adapter.dropouts.dropout > 0


def attach(module: nn.Module, adapter: AdapterLayer) -> Attachment:
    """Let an adapter take part in a module's forward; ``detach`` needs what this returns.

    Raises:
        ConfigError: it already does.
    """
    attachment = module.forward
    if not isinstance(attachment, Attachment):
        attachment = Attachment(module)
        module.forward = attachment
    if any(other is adapter for other in attachment.adapters):
        raise ConfigError(
            "the adapter is attached already", fix="remove the network before injecting it again"
        )
    attachment.adapters.append(adapter)
    return attachment


def detach(attachment: Attachment, adapter: AdapterLayer) -> None:
    """Take an adapter out of a module's forward; the last one restores the module.

    Where a host has wrapped the forward since, its wrapper stays and finds a pass-through.
    """
    attachment.adapters = [other for other in attachment.adapters if other is not adapter]
    module = attachment.module
    if attachment.adapters or module.forward is not attachment:
        return
    if attachment.shadowed is None:
        del module.forward
    else:
        module.forward = attachment.shadowed

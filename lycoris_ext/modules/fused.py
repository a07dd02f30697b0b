"""Torch's fused Transformer layers.

In eval mode nn.TransformerEncoderLayer computes all of itself in one kernel, from the weights of
the layers inside it, and does not call these. While one of them has an adapter, that is switched
off.
"""

from __future__ import annotations

from torch import nn

#: Class -> its attribute on which the fused way depends, and the value without it.
_SWITCHES: dict[type[nn.Module], tuple[str, object]] = {
    nn.TransformerEncoderLayer: ("activation_relu_or_gelu", 0),
    nn.TransformerEncoder: ("use_nested_tensor", False),
}
_KEPT = "_lycoris_ext_fused"


def fused_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return path -> module of those in a model that do not always call the layers inside them."""
    kinds = tuple(_SWITCHES)
    return {path: module for path, module in model.named_modules() if isinstance(module, kinds)}


def switch_off(module: nn.Module) -> None:
    """Let one of these modules call the layers inside it, until as many ``switch_on``."""
    name, value = _switch(module)
    kept = module.__dict__.setdefault(_KEPT, [getattr(module, name, value), 0])
    kept[1] += 1
    setattr(module, name, value)


def switch_on(module: nn.Module) -> None:
    """Undo one ``switch_off``."""
    name, _ = _switch(module)
    kept = module.__dict__[_KEPT]
    kept[1] -= 1
    if not kept[1]:
        setattr(module, name, kept[0])
        del module.__dict__[_KEPT]


def _switch(module: nn.Module) -> tuple[str, object]:
    return next(switch for kind, switch in _SWITCHES.items() if isinstance(module, kind))

"""Which layers can be adapted: every kind of ``LayerSpec``."""

from __future__ import annotations

from torch import nn

from lycoris_ext.functional.inputs_first import InputsFirst
from lycoris_ext.functional.layer import LayerSpec
from lycoris_ext.functional.normalization import NormSpec

_KINDS = (LayerSpec, NormSpec, InputsFirst)


def spec_of(module: nn.Module) -> LayerSpec | None:
    """Describe a module if it can be adapted; None otherwise."""
    for kind in _KINDS:
        if kind.supports(module):
            return kind.from_module(module)
    return None

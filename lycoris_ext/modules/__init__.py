"""Adapters as nn.Modules: the parameters for one layer, and attaching them to its forward."""

from lycoris_ext.modules.adapter_layer import AdapterLayer, Dropouts
from lycoris_ext.modules.attachment import Attachment, attach, detach
from lycoris_ext.modules.fused import fused_modules
from lycoris_ext.modules.merged_layer import MergedLayer, MergedUpdate, merge_update

__all__ = [
    "AdapterLayer",
    "Attachment",
    "Dropouts",
    "MergedLayer",
    "MergedUpdate",
    "attach",
    "detach",
    "fused_modules",
    "merge_update",
]

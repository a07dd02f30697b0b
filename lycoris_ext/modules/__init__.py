"""Adapters as nn.Modules: one layer's parameters, and what touches a host module's forward."""

from lycoris_ext.modules.adapter_layer import AdapterLayer, Dropouts
from lycoris_ext.modules.attachment import Attachment, attach, detach

__all__ = ["AdapterLayer", "Attachment", "Dropouts", "attach", "detach"]

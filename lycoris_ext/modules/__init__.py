"""Adapters as nn.Modules: the parameters for one layer, and attaching them to its forward."""

from lycoris_ext.modules.adapter_layer import AdapterLayer, Dropouts
from lycoris_ext.modules.attachment import Attachment, attach, detach

__all__ = ["AdapterLayer", "Attachment", "Dropouts", "attach", "detach"]

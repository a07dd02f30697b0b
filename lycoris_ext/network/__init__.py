"""Adapters for a whole model: choose its layers, build or load a network, inject it or merge it."""

from lycoris_ext.network.banks import Banks
from lycoris_ext.network.block_weights import BlockWeights
from lycoris_ext.network.build import build_network, load_network
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.network import Network
from lycoris_ext.network.notices import NetworkWarning
from lycoris_ext.network.overrides import LayerOverride
from lycoris_ext.network.presets import PRESETS, Preset, is_preset_file

__all__ = [
    "PRESETS",
    "Banks",
    "BlockWeights",
    "LayerOverride",
    "Network",
    "NetworkConfig",
    "NetworkWarning",
    "Preset",
    "build_network",
    "is_preset_file",
    "load_network",
]

"""LoRA, LoCon, LoHa, LoKr and more for Stable Diffusion: train, save, load, look.

    from lycoris_ext import NetworkConfig, build_network

    network = build_network({"unet": unet}, NetworkConfig(algo="loha", network_dim=8))
    with network.injected():
        ...

Names are loaded when first used: hosts import this package at their start and pay for torch alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
    from lycoris_ext.network import Network, NetworkConfig, build_network, load_network

__version__ = "0.1.0"

__all__ = [
    "AdapterState",
    "Network",
    "NetworkConfig",
    "__version__",
    "build_network",
    "load_adapter",
    "load_network",
    "save_adapter",
]

_HOMES = {
    "AdapterState": "lycoris_ext.formats",
    "Network": "lycoris_ext.network",
    "NetworkConfig": "lycoris_ext.network",
    "build_network": "lycoris_ext.network",
    "load_adapter": "lycoris_ext.formats",
    "load_network": "lycoris_ext.network",
    "save_adapter": "lycoris_ext.formats",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""kohya sd-scripts' calling convention: ``--network_module lycoris_ext.kohya``.

What a script calls is in ``creation`` (the functions of the module) and in ``network`` (the members
of what they return); everything else translates: ``arguments`` the texts of ``--network_args``,
``blocks`` those of them that speak of a U-Net's blocks, ``targets`` the models that a script hands
over, ``regions`` the masks of gen_img.py.

Source: sd-scripts 48d368f; docs/hosts/kohya.md.
"""

from __future__ import annotations

from kohya_adapter.creation import create_network, create_network_from_weights
from kohya_adapter.network import KohyaNetwork

__all__ = ["KohyaNetwork", "create_network", "create_network_from_weights"]

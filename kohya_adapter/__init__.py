"""Our networks in kohya's sd-scripts: ``--network_module lycoris_ext.kohya``.

sd-scripts calls the functions in ``creation`` and the methods of the network that they return,
which is in ``network``. The other modules translate what a script passes: ``arguments`` reads
``--network_args``, ``blocks`` those of them that set ranks and learning rates of U-Net blocks,
``targets`` names the models, ``regions`` applies the masks of gen_img.py, and ``backup`` copies the
weights that gen_img.py restores.

Source: sd-scripts 48d368f; docs/hosts/kohya.md.
"""

from __future__ import annotations

from kohya_adapter.creation import create_network, create_network_from_weights
from kohya_adapter.network import KohyaNetwork

__all__ = ["KohyaNetwork", "create_network", "create_network_from_weights"]

"""Our networks in kohya's sd-scripts: ``--network_module lycoris_ext.kohya``.

sd-scripts calls the functions in ``creation`` and the methods of the network that they return,
which is in ``network``. ``rehearsal`` tries before the first step what could end a run later, and
``drawing`` looks at each forward of the models. The other modules translate what a script passes:
``arguments`` reads ``--network_args``, of which ``unread`` takes out what has no effect,
``layer_arguments`` those that choose layers of transformers by the table in ``layer_choices``,
``file_arguments`` those of an adapter file, ``gui_words`` names them as the kohya_ss GUI does,
``targets`` names the models, ``regions`` applies the masks of gen_img.py, and ``backup`` copies the
weights that gen_img.py restores.

Source: sd-scripts 48d368f; docs/hosts/kohya.md.
"""

from __future__ import annotations

from kohya_adapter.creation import create_network, create_network_from_weights
from kohya_adapter.network import KohyaNetwork

__all__ = ["KohyaNetwork", "create_network", "create_network_from_weights"]

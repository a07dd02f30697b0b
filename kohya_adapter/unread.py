"""Options that the chosen algorithms do not read: LyCORIS ignores them, so configs state them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lycoris_ext.algorithms import algorithm_options
from lycoris_ext.network import NetworkConfig
from lycoris_ext.network.selection import SelectedLayer

#: Who sets this wants another training than the one that would follow: it stays an error.
_WANTED = ("dora_wd",)


def without_unread(
    config: NetworkConfig, selected: Sequence[SelectedLayer]
) -> tuple[NetworkConfig, tuple[str, ...]]:
    """Set options that no layer's algorithm reads back to their defaults.

    Args:
        config: of the network.
        selected: its layers.

    Returns:
        The config, and a sentence about each such option.
    """
    chosen = {layer.options.algorithm.name for layer in selected}
    given = config.changed()
    unread = [
        known
        for known in algorithm_options()
        if known.name in given and known.name not in _WANTED and not chosen & set(known.kinds)
    ]
    notes = [
        f"{known.name}={given[known.name]} has no effect: algo={config.algo} does not read it"
        for known in unread
    ]
    return replace(config, **{known.name: known.default for known in unread}), tuple(notes)

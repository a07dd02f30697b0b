"""Check the config in a file of this library against the file's tensors."""

from __future__ import annotations

from collections.abc import Mapping

from lycoris_ext.config.from_adapter.base_model import FoundLayers, site_path
from lycoris_ext.config.from_adapter.measured import Told, fits, is_planned
from lycoris_ext.config.resolve import OptionSource, build_config
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.network import PRESETS, NetworkConfig
from lycoris_ext.network.selection import select_layers
from lycoris_ext.training.config import all_options


def builds(stored: Mapping[str, object], found: FoundLayers) -> bool:
    """Return True if a config builds the layers of a file, as far as the base model is known.

    Tools that change an adapter (resize it, merge several) may leave the config of the training in
    its metadata.

    Args:
        stored: option -> value, as read from the file's metadata.
        found: the file's layers.
    """
    known = {name: value for name, value in stored.items() if name in all_options()}
    try:
        config = build_config([OptionSource("the file", known)]).effective_network
        if found.targets is None:
            return _may_build(config, found)
        selected = {
            site_path(layer.site.name): layer for layer in select_layers(found.targets, config)
        }
    except LycorisExtError:  # a preset file that is not here, an option of a later version
        return False
    return selected.keys() == {layer.path for layer in found.layers} and all(
        is_planned(layer, chosen.options, chosen.rank, chosen.alpha)
        for layer in found.layers
        for chosen in [selected[layer.path]]
    )


def _may_build(config: NetworkConfig, found: FoundLayers) -> bool:
    """Whether a config may be that of layers whose model is not known: its sizes are theirs."""
    if config.overrides or config.preset not in PRESETS:
        return True
    told = Told(rs_lora=config.rs_lora)
    values = {name: value for name, value in config.values().items() if value is not None}
    return all(fits(layer, values, told) for layer in found.layers)

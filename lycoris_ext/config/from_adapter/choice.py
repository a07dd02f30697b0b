"""Choose preset, include, exclude and overrides so that they select the layers of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lycoris_ext.config.from_adapter.base_model import FoundLayers, site_path
from lycoris_ext.config.from_adapter.measured import (
    Told,
    Values,
    base_options,
    is_planned,
    own_options,
)
from lycoris_ext.config.from_adapter.patterns import (
    DOT,
    DOT_OR_UNDERSCORE,
    Path,
    Pattern,
    cover,
    exactly,
)
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.network import PRESETS, NetworkConfig
from lycoris_ext.network.selection import left_out_by, select_layers
from lycoris_ext.network.sites import Targets, all_sites

Settings = tuple[tuple[str, Any], ...]
#: The preset whose layers are all named with include.
_NONE = "none"
#: Presets with the fewest wrong layers for which patterns are looked for.
_TRIED = 3


def network_options(found: FoundLayers, told: Told) -> Values:
    """Return the options that build a network like a file's: its layers, ranks, alphas and forms.

    Args:
        found: the file's layers and, if it is known, the base model.
        told: what the file's metadata add.
    """
    base = base_options(found.layers, told)
    if not base:
        return {}
    base |= _models({layer.path[0] for layer in found.layers})
    dot = DOT if found.targets is not None else DOT_OR_UNDERSCORE
    paths = {layer.path for layer in found.layers}
    if found.targets is None:
        choice = _Choice(_NONE, exactly(sorted(paths)), [])
    else:
        choice = _choose(found.targets, paths, base)
    base |= choice.options(dot)
    overrides = []
    for settings, group in _own_settings(found, base, told).items():
        patterns = cover(group, paths.difference(group))
        match = "|".join(pattern.text(dot) for pattern in patterns)
        overrides.append({"match": match, **dict(settings)})
    return base | ({"overrides": overrides} if overrides else {})


class _Choice(NamedTuple):
    """A preset, the layers that are added to it, and those that are taken away."""

    preset: str
    include: Sequence[Pattern]
    exclude: Sequence[Pattern]

    def options(self, dot: str) -> Values:
        """Return it as options; those without effect are left out."""
        lists = {
            "include": [pattern.text(dot) for pattern in self.include],
            "exclude": [pattern.text(dot) for pattern in self.exclude],
        }
        return {"preset": self.preset, **{name: found for name, found in lists.items() if found}}

    @property
    def length(self) -> int:
        """How much there is to read."""
        return sum(len(pattern.text()) for pattern in (*self.include, *self.exclude))


def _models(targets: set[str]) -> Values:
    """Return the option that leaves out the models without layers in the file."""
    if targets == {"unet"}:
        return {"network_train_unet_only": True}
    if targets and targets <= set(TEXT_ENCODERS):
        return {"network_train_text_encoder_only": True}
    return {}


def _choose(targets: Targets, paths: set[Path], base: Values) -> _Choice:
    """Choose the preset that needs the fewest patterns to select these layers."""
    config = NetworkConfig(**base)
    # A pattern selects embeddings (`has_op` is False) only if it fits nothing else.
    possible = {
        site_path(site.name)
        for site in all_sites(targets).values()
        if site.spec.has_op
        and config.trains(site.spec.is_norm)
        and not left_out_by(site.target, config)
    }
    selected = {preset: _selected(targets, {**base, "preset": preset}) for preset in PRESETS}
    nearest = sorted(PRESETS, key=lambda preset: len(selected[preset] ^ paths))
    if selected[nearest[0]] == paths:
        return _Choice(nearest[0], [], [])
    choices = []
    for preset in dict.fromkeys([*nearest[:_TRIED], _NONE]):
        extra, missing = selected[preset] - paths, paths - selected[preset]
        unwanted = possible - paths - extra  # what is excluded anyway may be included, too
        choices.append(_Choice(preset, cover(missing, unwanted), cover(extra, paths)))
    return min(choices, key=lambda choice: choice.length)


def _selected(targets: Targets, options: Values) -> set[Path]:
    """Return the paths of the layers that a config selects; none if it selects nothing."""
    try:
        layers = select_layers(targets, NetworkConfig(**options))
    except ConfigError:
        return set()
    return {site_path(layer.site.name) for layer in layers}


def _own_settings(found: FoundLayers, base: Values, told: Told) -> dict[Settings, list[Path]]:
    """Return what some layers need beside the options for all -> the paths of these layers."""
    usual: dict[Path, Values] = {}
    layers = {layer.path: layer for layer in found.layers}
    if found.targets is not None:  # presets set options of some layers, too
        for chosen in select_layers(found.targets, NetworkConfig(**base)):
            path = site_path(chosen.site.name)
            if is_planned(layers[path], chosen.options, chosen.rank, chosen.alpha):
                del layers[path]
                continue
            values = {name: v for name, v in chosen.options.values().items() if v is not None}
            sizes = {"network_dim": chosen.rank, "network_alpha": chosen.alpha}
            sizes |= {"conv_dim": chosen.rank, "conv_alpha": chosen.alpha}
            usual[path] = values | sizes
    groups: dict[Settings, list[Path]] = {}
    for layer in layers.values():
        own = own_options(layer, usual.get(layer.path, base), told)
        if own:
            groups.setdefault(tuple(own.items()), []).append(layer.path)
    return groups

"""From a preset and patterns to the layers of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats.keys import Place, family_of, key_prefix, place_in_file, place_in_model
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.presets import PRESETS, Preset

Targets = Mapping[str, nn.Module]
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Site:
    """One layer of a model: where it is and what it is called in the files we write."""

    target: str
    path: str
    module: nn.Module
    spec: LayerSpec
    key: str

    @property
    def place(self) -> Place:
        """Where it is in everybody's naming."""
        return place_in_model(self.target, self.path)

    @property
    def name(self) -> str:
        """As patterns see it: ``unet.down_blocks.0.resnets.0.conv1``."""
        return f"{self.target}.{self.path}"


def all_sites(targets: Targets) -> dict[str, Site]:
    """Every Linear, Conv and normalisation by its key.

    Raises:
        FormatError: two layers would have the same key.
    """
    sites: dict[str, Site] = {}
    unet = targets.get("unet")
    family = family_of(targets, () if unet is None else (name for name, _ in unet.named_children()))
    for target, model in targets.items():
        for path, module in model.named_modules():
            spec = spec_of(module)
            if spec is None or _bypasses_forward(model, path):
                continue
            key = key_prefix(target, path, family)
            site = Site(target, path, module, spec, key)
            if site.key in sites:
                raise FormatError(
                    f"the layers {sites[site.key].name} and {site.name} share this key",
                    where=site.key,
                    fix="pass the models under different target names",
                )
            sites[site.key] = site
    return sites


def place_layers(layers: Iterable[str], sites: Mapping[str, Site]) -> dict[str, Site]:
    """A file's layers and the model's, brought together by their places.

    Args:
        layers: names in the file, in anybody's naming.
        sites: of the models, by key.

    Returns:
        Layer's name in the file -> site, for the layers that have one.

    Raises:
        FormatError: a name without a target fits layers of several models, or two names one layer.
    """
    by_place = {site.place: site for site in sites.values()}
    targets = {site.target for site in sites.values()}
    placed: dict[str, Site] = {}
    taken: dict[str, str] = {}
    for layer in layers:
        told, name = place_in_file(layer)
        places = {place_in_model(target, name) for target in ([told] if told else targets)}
        found = [by_place[place] for place in places if place in by_place]
        if len(found) > 1:
            raise FormatError(
                f"the layer may be any of {', '.join(sorted(site.name for site in found))}",
                where=layer,
                fix="pass only the model that the file is for",
            )
        for site in found:
            if taken.setdefault(site.key, layer) != layer:
                raise FormatError(
                    f"{taken[site.key]!r} and {layer!r} name the same layer",
                    where=site.name,
                    fix="the file mixes two adapters: separate them",
                )
            placed[layer] = site
    return placed


def select_sites(targets: Targets, config: NetworkConfig) -> list[Site]:
    """The layers that a config adapts, in the model's order.

    Raises:
        ConfigError: a pattern fits no layer, or nothing is left to train.
    """
    preset = PRESETS[config.preset]
    sites = [site for site in all_sites(targets).values() if config.trains(site.spec.is_norm)]
    for pattern in (*config.include, *config.exclude):
        if not any(re.search(pattern, site.name) for site in sites):
            raise ConfigError(
                f"the pattern {pattern!r} fits no layer",
                where="include/exclude",
                fix=f"patterns see names like {sites[0].name!r}" if sites else None,
            )
    chosen = {
        path for target, model in targets.items() for path in _preset_paths(target, model, preset)
    }
    selected = [site for site in sites if _wanted(site, chosen, preset, config)]
    if not selected:
        raise ConfigError(
            f"preset {config.preset!r} selects no layer of {sorted(targets)}",
            where="preset",
            fix="choose another preset, or name layers with include",
        )
    return selected


def _wanted(site: Site, chosen: set[str], preset: Preset, config: NetworkConfig) -> bool:
    if site.target in TEXT_ENCODERS and config.network_train_unet_only:
        return False
    if site.target == "unet" and config.network_train_text_encoder_only:
        return False
    if any(re.search(pattern, site.name) for pattern in config.exclude):
        return False
    if any(re.search(pattern, site.name) for pattern in config.include):
        return True
    if site.spec.is_spatial and not (preset.spatial and config.dims(spatial=True)[0]):
        return False
    return site.name in chosen


def _preset_paths(target: str, model: nn.Module, preset: Preset) -> Iterator[str]:
    """Names of the layers of one model that a preset covers; all of a plain module's."""
    if target == "unet":
        classes, names = preset.unet_classes, preset.unet_names
    elif target in TEXT_ENCODERS:
        classes, names = preset.text_classes, ()
    else:
        classes, names = (type(model).__name__,), ()
    for path, module in model.named_modules():
        if place_in_model(target, path).name in names:
            yield f"{target}.{path}"
        if type(module).__name__ in classes:
            start = f"{path}." if path else ""
            for below, _ in module.named_modules():
                yield f"{target}.{start}{below}" if below else f"{target}.{path}"


def _bypasses_forward(model: nn.Module, path: str) -> bool:
    """nn.MultiheadAttention reads its out_proj's weight without ever calling it."""
    parent = model.get_submodule(path.rpartition(".")[0])
    return isinstance(parent, nn.MultiheadAttention)

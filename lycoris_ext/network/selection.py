"""From a config to the layers that it adapts, each with its own rank, options and rate."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.formats.keys import place_in_model
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.network.overrides import Settings, merged, own_options
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.network.presets import Preset
from lycoris_ext.network.sites import DENOISERS, Site, Targets, all_sites


@dataclass(frozen=True)
class LayerRate:
    """The learning rate of one layer: its model's, or its own, times a weight."""

    learning_rate: float | None = None
    weight: float = 1.0

    def of(self, learning_rate: float) -> float:
        """The layer's rate where its model has this one."""
        own = learning_rate if self.learning_rate is None else self.learning_rate
        return own * self.weight


@dataclass(frozen=True)
class LayerChoice:
    """How one layer is adapted.

    Attributes:
        options: with what overrides and preset say of this layer.
        rank, alpha: of the layer; the sizes among the options do not count.
        said: setting -> who said it; what is missing is said by the config itself.
    """

    site: Site
    options: LayerOptions
    rank: int
    alpha: float
    rate: LayerRate
    said: dict[str, str]

    def option(self, name: str) -> str:
        """How messages name one of the layer's settings."""
        if name in self.said:
            return f"{self.said[name]}: {name}"
        if name != "rank":
            return name
        own = self.site.spec.is_spatial and self.options.conv_dim is not None
        return "conv_dim" if own else "network_dim"


def choose_layers(targets: Targets, config: NetworkConfig) -> list[LayerChoice]:
    """The layers that a config adapts, in the model's order.

    Raises:
        ConfigError: a pattern fits no layer, or nothing is left to train.
    """
    preset = read_preset(config)
    plain = [target for target in targets if target not in (*DENOISERS, *TEXT_ENCODERS)]
    if plain and preset.prefix != Preset.prefix:
        raise ConfigError(
            f"lora_prefix is {preset.prefix!r}; the keys of a plain module ({plain[0]}) begin with "
            f"{Preset.prefix}",
            where=config.preset,
            fix="remove lora_prefix",
        )
    sites = [site for site in all_sites(targets).values() if config.trains(site.spec.is_norm)]
    for pattern in (*config.include, *config.exclude):
        _check_fits(pattern, "include/exclude", sites, sites)
    covered = {
        f"{target}.{path}": settings
        for target, model in targets.items()
        for path, settings in _covered(target, model, preset).items()
    }
    wanted = [site for site in sites if _wanted(site, covered, config)]
    choices = list(_choices(wanted, covered, preset, config))
    chosen = [
        choice
        for choice in choices
        if choice.rank and choice.rate.of(1.0)  # a rate of 0: no adapter at all
    ]
    for override in config.overrides:
        found = [choice.site for choice in choices if choice.rank or choice.said.get("rank")]
        _check_fits(override.match, override.where, sites, found)
    if not chosen:
        raise ConfigError(
            f"preset {config.preset!r} selects no layer of {sorted(targets)}",
            where="preset",
            fix="choose another preset, or name layers with include",
        )
    return chosen


def layer_rates(sites: Mapping[str, Site], config: NetworkConfig) -> dict[str, LayerRate]:
    """What the overrides say of the rates of layers that a file has chosen, by key."""
    rates = {}
    for key, site in sites.items():
        told, _ = merged(config.overrides, site.name, site.spec.is_spatial, {}, rank=1)
        rates[key] = LayerRate(told.get("learning_rate"), told.get("lr_weight", 1.0))
    return rates


def _check_fits(pattern: str, where: str, sites: list[Site], adapted: list[Site]) -> None:
    if any(re.search(pattern, site.name) for site in adapted):
        return
    fitting = [site.name for site in sites if re.search(pattern, site.name)]
    if not fitting:
        raise ConfigError(
            f"the pattern {pattern!r} fits no layer",
            where=where,
            fix=f"patterns see names like {sites[0].name!r}" if sites else None,
        )
    raise ConfigError(
        f"the pattern {pattern!r} fits no layer that is adapted ({fitting[0]} is not)",
        where=where,
        fix="add the layer with include, set conv_dim if it is a convolution, or choose another "
        "preset",
    )


def _wanted(site: Site, covered: Mapping[str, Settings], config: NetworkConfig) -> bool:
    if site.target in TEXT_ENCODERS and config.network_train_unet_only:
        return False
    if site.target in DENOISERS and config.network_train_text_encoder_only:
        return False
    if any(re.search(pattern, site.name) for pattern in config.exclude):
        return False
    return site.name in covered or _included(site, config)


def _included(site: Site, config: NetworkConfig) -> bool:
    return any(re.search(pattern, site.name) for pattern in config.include)


def _choices(
    sites: Iterable[Site], covered: Mapping[str, Settings], preset: Preset, config: NetworkConfig
) -> Iterator[LayerChoice]:
    """``covered``: layer's name -> what the preset says of it."""
    checked: dict[Hashable, LayerOptions] = {}  # most layers share their settings with others
    for site in sites:
        spatial, included = site.spec.is_spatial, _included(site, config)
        rank, alpha = config.dims(spatial)
        if spatial and not preset.spatial and not included:
            rank = 0
        settings, said = merged(
            config.overrides, site.name, spatial, covered.get(site.name, {}), rank
        )
        rank, alpha = settings.pop("rank", rank), settings.pop("alpha", alpha)
        rate = LayerRate(settings.pop("learning_rate", None), settings.pop("lr_weight", 1.0))
        if rank == 0 and included and "rank" not in said:
            raise ConfigError(
                "is included by name, but convolutions have no rank",
                where=site.name,
                fix="set conv_dim",
            )
        same = tuple(settings.items())
        if same not in checked:
            try:
                checked[same] = own_options(config.of_layers, settings)
            except LycorisExtError as error:
                raise error.within(site.name) from error
        yield LayerChoice(site, checked[same], rank, alpha, rate, said)


def _covered(target: str, model: nn.Module, preset: Preset) -> dict[str, Settings]:
    """Paths of the modules of one model that a preset covers, and what it says of them."""
    classes, names = _selectors(target, preset)
    covered: dict[str, Settings] = dict(_below(model, "", {}, preset)) if classes is None else {}
    named: dict[str, Settings] = {}
    for path, module in model.named_modules():
        if _excluded(path, preset):
            continue
        kind = type(module).__name__
        own = preset.class_settings.get(kind, {})
        if _first_fit(preset, names, target, path) is not None:
            named[path] = own
        elif kind in (classes or ()) and path not in covered:
            covered |= {
                below: told
                for below, told in _below(module, path, own, preset)
                if below not in covered
            }
    covered |= named
    for path in covered if preset.name_settings else ():
        name = _first_fit(preset, preset.name_settings, target, path)
        if name is not None:
            covered[path] = preset.name_settings[name]
    return covered


def _selectors(target: str, preset: Preset) -> tuple[Sequence[str] | None, Sequence[str]]:
    """The classes and names that a preset selects in one model; no classes: all of it."""
    if target == "unet":
        return preset.unet_classes, preset.unet_names
    if target in TEXT_ENCODERS:
        return preset.text_classes, preset.text_names
    if preset.classes is None:
        return None, ()
    # LyCORIS's wrapper of any module selects by its maps, too.
    return (*preset.classes, *preset.class_settings), (*preset.names, *preset.name_settings)


def _below(
    module: nn.Module, path: str, settings: Settings, preset: Preset
) -> Iterator[tuple[str, Settings]]:
    """A module and all below it; the settings of the innermost class that has some count, only
    the algorithm is handed down further."""
    if not _excluded(path, preset):
        yield path, settings
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        own = preset.class_settings.get(type(child).__name__)
        told = settings
        if own is not None and not _excluded(below, preset):
            told = {key: value for key, value in settings.items() if key == "algo"} | own
        yield from _below(child, below, told, preset)


def _excluded(path: str, preset: Preset) -> bool:
    return bool(path) and any(preset.fits(pattern, path) for pattern in preset.exclude)


def _first_fit(preset: Preset, patterns: Iterable[str], target: str, path: str) -> str | None:
    """The pattern that is the path itself, or the first that fits it. A preset's names are
    diffusers'; they fit a layer of that place under ldm's names, too."""
    patterns = list(patterns)
    if path in patterns:
        return path
    place = place_in_model(target, path).name if path and patterns else ""
    for pattern in patterns:
        if path and (preset.fits(pattern, path) or pattern.replace(".", "_") == place):
            return pattern
    return None

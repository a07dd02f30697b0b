"""Find the layers that a config adapts, each with its rank, options and learning rate."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from lycoris_ext.algorithms import algorithm_options
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.formats.keys import place_in_model
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.network.overrides import Settings, options_with, settings_for
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.network.presets import Preset, is_preset_file
from lycoris_ext.network.sites import DENOISERS, Site, Targets, all_sites
from lycoris_ext.network.skipped import listed, skipped_layers
from lycoris_ext.patterns import pattern_fits


@dataclass(frozen=True)
class LayerRate:
    """The learning rate of one layer, before its model's rate is known.

    Attributes:
        learning_rate: a rate for this layer; None: that of its model.
        weight: factor by which the rate is multiplied.
    """

    learning_rate: float | None = None
    weight: float = 1.0

    def of(self, learning_rate: float) -> float:
        """Return the layer's learning rate, given that of its model."""
        rate = learning_rate if self.learning_rate is None else self.learning_rate
        return rate * self.weight


@dataclass(frozen=True)
class SelectedLayer:
    """A layer that is to be adapted, with all settings resolved.

    Attributes:
        site: the layer.
        options: the layer's options, with overrides and preset applied.
        rank, alpha: the layer's sizes; network_dim, conv_dim and their alphas in ``options`` do
            not count.
        rate: its learning rate.
        set_by: setting -> "preset" or the override that set it; a setting that is missing here
            has the config's value for all layers.
    """

    site: Site
    options: LayerOptions
    rank: int
    alpha: float
    rate: LayerRate
    set_by: dict[str, str]

    def option(self, name: str) -> str:
        """Return the name of a setting for messages, with where it was set.

        Args:
            name: an option of a layer, or "rank".
        """
        if name in self.set_by:
            return f"{self.set_by[name]}: {name}"
        if name != "rank":
            return name
        from_conv_dim = self.site.spec.is_spatial and self.options.conv_dim is not None
        return "conv_dim" if from_conv_dim else "network_dim"


def select_layers(targets: Targets, config: NetworkConfig) -> list[SelectedLayer]:
    """Return the layers that a config adapts, in the order of the models' modules.

    Args:
        targets: models by name: "unet", "text_encoder", ...
        config: names the preset, include, exclude and overrides.

    Raises:
        ConfigError: a pattern fits no layer, or no layer is selected.
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
        _check_fits(pattern, "include/exclude", sites, sites, targets)
    covered = {
        f"{target}.{path}": settings
        for target, model in targets.items()
        for path, settings in covered_modules(target, model, preset).items()
    }
    named = _named(sites, config.include)
    wanted = [site for site in sites if _wanted(site, covered, named, config)]
    candidates = list(_with_settings(wanted, covered, preset, config))
    selected = [
        layer
        for layer in candidates
        if layer.rank and layer.rate.of(1.0)  # a rate of 0: no adapter at all
    ]
    for override in config.overrides:
        found = [layer.site for layer in candidates if layer.rank or layer.set_by.get("rank")]
        _check_fits(override.match, override.where, sites, found, targets)
    if not selected:
        ordinary = any(site.spec.has_op for site in sites)
        skipped = {} if ordinary else skipped_layers(targets)
        only = f"; they have only {listed(skipped, skipped)}" if skipped else ""
        raise ConfigError(
            f"preset {config.preset!r} selects no layer of {sorted(targets)}{only}",
            where="preset",
            fix="choose another preset, or name layers with include",
        )
    return selected


def layer_rates(sites: Mapping[str, Site], config: NetworkConfig) -> dict[str, LayerRate]:
    """Return the learning rates that a config's overrides set for the given layers, by key.

    It is for networks whose layers come from an adapter file instead of the config's preset.
    """
    rates = {}
    for key, site in sites.items():
        settings, _ = settings_for(config.overrides, site.name, site.spec.is_spatial, {}, rank=1)
        rates[key] = LayerRate(settings.get("learning_rate"), settings.get("lr_weight", 1.0))
    return rates


def _check_fits(
    pattern: str, where: str, sites: list[Site], adapted: list[Site], targets: Targets
) -> None:
    """Raise ConfigError if a pattern is found in the name of no adapted layer."""
    if any(pattern_fits(pattern, site.name) for site in adapted):
        return
    fitting = [site.name for site in sites if pattern_fits(pattern, site.name)]
    if not fitting:
        skipped = skipped_layers(targets)
        unfit = [name for name in skipped if pattern_fits(pattern, name)]
        raise ConfigError(
            f"the pattern {pattern!r} fits "
            + (f"only what cannot be adapted: {listed(skipped, unfit)}" if unfit else "no layer"),
            where=where,
            fix=f"patterns see names like {sites[0].name!r}" if sites else None,
        )
    raise ConfigError(
        f"the pattern {pattern!r} fits no layer that is adapted ({fitting[0]} is not)",
        where=where,
        fix="add the layer with include, set conv_dim if it is a convolution, or choose another "
        "preset",
    )


def _named(sites: Iterable[Site], include: Iterable[str]) -> set[str]:
    """Return the names of embeddings and transposed convolutions that ``include`` asks for.

    Only a pattern that fits no other layers asks for them, so that those which name a whole part of
    a model select what they always did (docs/decisions/025-layers-named-to-be-adapted.md).
    """
    ordinary = [site.name for site in sites if site.spec.has_op]
    asking = [
        pattern for pattern in include if not any(pattern_fits(pattern, name) for name in ordinary)
    ]
    return {site.name for site in sites if not site.spec.has_op and fits_any(asking, site.name)}


def _wanted(
    site: Site, covered: Mapping[str, Settings], named: Collection[str], config: NetworkConfig
) -> bool:
    """Whether preset, include, exclude and the network_train_*_only options select a layer.

    Args:
        covered: names of the layers that the preset selects.
        named: names of the layers that only ``include`` can select.
    """
    if left_out_by(site.target, config) or fits_any(config.exclude, site.name):
        return False
    if not site.spec.has_op:
        return site.name in named
    return site.name in covered or fits_any(config.include, site.name)


def left_out_by(target: str, config: NetworkConfig) -> str | None:
    """Return the option that keeps a model from being adapted; None if none does."""
    if target in TEXT_ENCODERS and config.network_train_unet_only:
        return "network_train_unet_only"
    if target in DENOISERS and config.network_train_text_encoder_only:
        return "network_train_text_encoder_only"
    return None


def fits_any(patterns: Iterable[str], name: str) -> bool:
    """Return True if one of some patterns is found in a layer's name."""
    return any(pattern_fits(pattern, name) for pattern in patterns)


def _with_settings(
    sites: Iterable[Site], covered: Mapping[str, Settings], preset: Preset, config: NetworkConfig
) -> Iterator[SelectedLayer]:
    """Resolve rank, options and rate of each layer; rank 0 means that it gets no adapter.

    Args:
        covered: layer's name -> the settings that the preset has for it.
    """
    readers = {known.name: known.kinds for known in algorithm_options()}
    built_in = not is_preset_file(config.preset)
    checked: dict[Hashable, LayerOptions] = {}  # most layers share their settings with others
    for site in sites:
        spatial, included = site.spec.is_spatial, fits_any(config.include, site.name)
        rank, alpha = config.dims(spatial)
        if spatial and not preset.spatial and not included:
            rank = 0
        settings, set_by = settings_for(
            config.overrides, site.name, spatial, covered.get(site.name, {}), rank
        )
        for name in [name for name, by in set_by.items() if built_in and by == "preset"]:
            # The preset ia3 with another algorithm: only its choice of layers is wanted.
            if settings.get("algo", config.algorithm.name) not in readers.get(name, ()):
                del settings[name], set_by[name]
        rank, alpha = settings.pop("rank", rank), settings.pop("alpha", alpha)
        rate = LayerRate(settings.pop("learning_rate", None), settings.pop("lr_weight", 1.0))
        if rank == 0 and included and "rank" not in set_by:
            raise ConfigError(
                "this convolution is included by name, and convolutions have no rank (conv_dim)",
                where=site.name,
                fix="set conv_dim, or leave the layer out of include",
            )
        same = tuple(settings.items())
        if same not in checked:
            try:
                checked[same] = options_with(config.layer_defaults, settings)
            except LycorisExtError as error:
                raise error.within(site.name) from error
        yield SelectedLayer(site, checked[same], rank, alpha, rate, set_by)


def covered_modules(target: str, model: nn.Module, preset: Preset) -> dict[str, Settings]:
    """Return path -> settings for the modules of one model that a preset selects."""
    classes, names = selectors(target, preset)
    covered: dict[str, Settings] = dict(_below(model, "", {}, preset)) if classes is None else {}
    named: dict[str, Settings] = {}
    for path, module in model.named_modules():
        if _excluded(path, preset):
            continue
        kind = type(module).__name__
        settings = preset.class_settings.get(kind, {})
        if _first_fit(preset, names, target, path) is not None:
            named[path] = settings
        elif kind in (classes or ()) and path not in covered:
            covered |= {
                below: inherited
                for below, inherited in _below(module, path, settings, preset)
                if below not in covered
            }
    covered |= named
    for path in covered if preset.name_settings else ():
        name = _first_fit(preset, preset.name_settings, target, path)
        if name is not None:
            covered[path] = preset.name_settings[name]
    return covered


def selectors(target: str, preset: Preset) -> tuple[Sequence[str] | None, Sequence[str]]:
    """Return the classes and names that a preset selects in a model; None: every module of it."""
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
    """Yield path and settings of a module and of every module inside it.

    If the preset has settings for the class of an inner module, they replace the inherited ones
    from there on; only the algorithm is inherited nevertheless.
    """
    if not _excluded(path, preset):
        yield path, settings
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        of_class = preset.class_settings.get(type(child).__name__)
        inherited = settings
        if of_class is not None and not _excluded(below, preset):
            inherited = {k: value for k, value in settings.items() if k == "algo"} | of_class
        yield from _below(child, below, inherited, preset)


def _excluded(path: str, preset: Preset) -> bool:
    return bool(path) and any(preset.fits(pattern, path) for pattern in preset.exclude)


def _first_fit(preset: Preset, patterns: Iterable[str], target: str, path: str) -> str | None:
    """Return the pattern that equals a module's path, else the first that fits it, else None.

    Patterns use the names of diffusers; the same layer is found in a model with ldm's names, too.
    """
    patterns = list(patterns)
    if path in patterns:
        return path
    common_name = place_in_model(target, path).name if path and patterns else ""
    for pattern in patterns:
        if path and (preset.fits(pattern, path) or pattern.replace(".", "_") == common_name):
            return pattern
    return None

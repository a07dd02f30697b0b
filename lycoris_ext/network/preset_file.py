"""Read LyCORIS's preset files (TOML) without changes to them.

    enable_conv = true
    unet_target_module = ["Transformer2DModel", "ResnetBlock2D"]
    unet_target_name = ["conv_in"]
    [module_algo_map.ResnetBlock2D]
    algo = "lokr"
    dim = 10000

For keys that a file leaves out, the values of the preset "full" count, as in LyCORIS. The keys are
those of lycoris-lora 4.1.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from lycoris_ext.algorithms import algorithm, algorithm_names
from lycoris_ext.errors import ConfigError, Faults, LycorisExtError
from lycoris_ext.files import expanded, read_text_within
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.network.overrides import Settings, options_with
from lycoris_ext.network.presets import PRESETS, Preset, is_preset_file
from lycoris_ext.options import Option, convert
from lycoris_ext.os_errors import why_no_text
from lycoris_ext.patterns import pattern_faults

# Key of a file -> attribute of Preset, and its type.
_KEYS: dict[str, tuple[str, Any]] = {
    "enable_conv": ("spatial", bool),
    "use_fnmatch": ("use_fnmatch", bool),
    "lora_prefix": ("prefix", str),
    "unet_target_module": ("unet_classes", tuple[str, ...]),
    "unet_target_name": ("unet_names", tuple[str, ...]),
    "text_encoder_target_module": ("text_classes", tuple[str, ...]),
    "text_encoder_target_name": ("text_names", tuple[str, ...]),
    "target_module": ("classes", tuple[str, ...]),
    "target_name": ("names", tuple[str, ...]),
    "exclude_name": ("exclude", tuple[str, ...]),
}
_MAPS = {"module_algo_map": "class_settings", "name_algo_map": "name_settings"}
_PATTERNS = ("unet_names", "text_names", "names", "exclude")
# A size in a map counts for convolutions of every kernel size; 0 means: as in all other layers.
_SIZES = {
    "dim": ("rank", Option("dim", int, 0, "Rank of these layers.", low=0)),
    "alpha": ("alpha", Option("alpha", float, 0.0, "Alpha of these layers.", low=0)),
}
_NOT_IN_FILES = ("network_dim", "network_alpha", "conv_dim", "conv_alpha")


def read_preset(config: NetworkConfig) -> Preset:
    """Return the preset that a config names; if it is a path, read the file.

    Raises:
        ConfigError: the file cannot be read, has unknown keys or wrong values, or sets options of
            some layers that contradict the config's.
    """
    name = config.preset
    if not is_preset_file(name):
        return PRESETS[name]
    try:
        text = read_text_within(expanded(name))
    except (OSError, UnicodeDecodeError) as error:
        why, fix = why_no_text(error)
        if isinstance(error, FileNotFoundError):
            fix = "check the path, which counts from the folder of the command"
        raise ConfigError(f"the preset cannot be read ({why})", where=name, fix=fix) from error
    try:
        tables = read_tables(text)
    except ValueError as error:
        raise ConfigError(f"no valid TOML: {error}", where=name, fix="correct this line") from error
    preset = parse_preset(tables, name)
    Faults(_contradictions(preset, config)).raise_all()
    return preset


def _contradictions(preset: Preset, config: NetworkConfig) -> Iterator[LycorisExtError]:
    """Yield an error for each settings table that contradicts the config's options."""
    for tables in (preset.class_settings, preset.name_settings):
        for pattern, settings in tables.items():
            try:
                options_with(config.layer_defaults, settings)
            except LycorisExtError as error:
                yield error.within(f"{config.preset}, {pattern}")


def parse_preset(tables: Mapping[str, Any], where: str) -> Preset:
    """Turn the content of a preset file into a preset.

    Args:
        tables: the file's content, as a TOML parser returns it.
        where: the file's name, for messages.

    Raises:
        ConfigError: all faults at once: keys that LyCORIS does not have, values of wrong types,
            invalid patterns.
    """
    found: dict[str, Any] = {}
    faults = Faults()
    for key, value in tables.items():
        with faults:
            if key in _KEYS:
                name, hint = _KEYS[key]
                found[name] = convert(key, value, hint, where)
            elif key in _MAPS:
                found[_MAPS[key]] = _map(key, value, where)
            else:
                raise _unknown(key, [*_KEYS, *_MAPS], where)
    faults.raise_all()
    full = PRESETS["full"]
    as_in_full = ("unet_classes", "unet_names", "text_classes")
    preset = Preset(**({name: getattr(full, name) for name in as_in_full} | found))
    if not preset.use_fnmatch:
        patterns = [pattern for name in _PATTERNS for pattern in getattr(preset, name)]
        patterns += preset.name_settings
        wrong = (error for pattern in patterns for error in pattern_faults(pattern))
        Faults(error.within(where) for error in wrong).raise_all()
    return preset


def _map(key: str, value: object, where: str) -> dict[str, Settings]:
    """Read module_algo_map or name_algo_map: class or pattern -> settings under our names."""
    found: dict[str, Settings] = {}
    faults = Faults()
    for pattern, table in _table(key, value, where).items():
        name = f"{key}.{pattern}"
        found[pattern] = {}
        for setting, given in _table(name, table, where).items():
            with faults:
                found[pattern] |= _setting(setting, given, f"{where}, {name}")
    faults.raise_all()
    return found


def _table(name: str, value: object, where: str) -> Settings:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{name} is {value!r}, expected a table", where=where, fix=f"change {name}"
        )
    return value


def _setting(name: str, value: object, where: str) -> Settings:
    """Read one entry of a map as {our name: value}; {} if it asks for what is always the case."""
    fixed = {
        setting: only
        for known in algorithm_names()
        for setting, only in algorithm(known).fixed.items()
    }
    if name in fixed:
        if value == fixed[name]:
            return {}
        raise ConfigError(
            f"{name} is {value!r}, and here it is always {fixed[name]!r}",
            where=where,
            fix=f"remove {name}",
        )
    if name in _SIZES:
        setting, declared = _SIZES[name]
        size = declared.convert(value, where)
        return {setting: size} if size else {}
    known = {
        spelling: known
        for option, known in LayerOptions.options().items()
        if option not in _NOT_IN_FILES
        for spelling in (option, *known.aliases)
    }
    if name not in known:
        raise _unknown(name, [*_SIZES, *known], where)
    return {known[name].name: known[name].convert(value, where)}


def _unknown(name: str, known: list[str], where: str) -> ConfigError:
    near = get_close_matches(name, known, n=1)
    return ConfigError(
        f"unknown key {name}",
        where=where,
        fix=f"did you mean {near[0]}?" if near else f"use {', '.join(sorted(known))}",
    )

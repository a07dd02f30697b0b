"""LyCORIS's preset files, read as they are.

    enable_conv = true
    unet_target_module = ["Transformer2DModel", "ResnetBlock2D"]
    unet_target_name = ["conv_in"]
    [module_algo_map.ResnetBlock2D]
    algo = "lokr"
    dim = 10000

What a file leaves out is as in the preset "full", as there. Source of the keys: lycoris-lora 4.1.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.network.overrides import LayerOverride, Settings, check_pattern
from lycoris_ext.network.presets import PRESETS, Preset

_LISTS = {
    "unet_target_module": "unet_classes",
    "unet_target_name": "unet_names",
    "text_encoder_target_module": "text_classes",
    "text_encoder_target_name": "text_names",
    "target_module": "classes",
    "target_name": "names",
    "exclude_name": "exclude",
}
_FLAGS = {"enable_conv": "spatial", "use_fnmatch": "use_fnmatch"}
_MAPS = {"module_algo_map": "class_settings", "name_algo_map": "name_settings"}
_PREFIX = "lora_prefix"
_PATTERNS = ("unet_names", "text_names", "names", "exclude")
# Their names in a map, and ours. One dim is for all of a layer's kernels.
_RENAMED: dict[str, str] = {
    "dim": "rank",
    "alpha": "alpha",
    "weight_decompose": "dora_wd",
    "wd_on_out": "wd_on_output",
    "constrain": "constraint",
    "use_cp": "use_tucker",
    "use_conv_cp": "use_tucker",
}
# Of T-LoRA, in the only form that ours has, which is their default.
_TLORA: Settings = {"sig_type": "principal", "use_data_init": True, "mask_group_id": 0}
_NOT_THEIRS = {
    "match", "network_dim", "network_alpha", "conv_dim", "conv_alpha", "learning_rate", "lr_weight",
}  # fmt: skip
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_KINDS: dict[str, tuple[type, ...]] = {
    "rank": (int,),
    "alpha": (float,),
    **{
        name: get_args(hint)
        for name, hint in get_type_hints(LayerOverride).items()
        if name not in _NOT_THEIRS
    },
}


def is_preset_file(name: str) -> bool:
    """Whether a preset's name is a path."""
    return name.lower().endswith(".toml")


def read_preset(name: str) -> Preset:
    """The preset of this name, or in this file.

    Raises:
        ConfigError: there is none, the file cannot be read, or it holds what no preset holds.
    """
    if not is_preset_file(name):
        if name not in PRESETS:
            raise ConfigError(
                f"unknown preset {name!r}",
                where="preset",
                fix=f"use one of {sorted(PRESETS)}, or the path of a .toml file",
            )
        return PRESETS[name]
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the preset cannot be read ({error})",
            where=name,
            fix="check the path, which counts from the folder of the command; save it as UTF-8",
        ) from error
    try:
        tables = read_tables(text)
    except ValueError as error:
        raise ConfigError(f"no valid TOML: {error}", where=name, fix="correct this line") from error
    return parse_preset(tables, name)


def parse_preset(tables: Mapping[str, Any], where: str) -> Preset:
    """A preset from the tables of its file.

    Raises:
        ConfigError: a key is none of LyCORIS's, or its value is of another type.
    """
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if key in _LISTS:
            found[_LISTS[key]] = _texts(key, value, where)
        elif key in _FLAGS:
            _expect(isinstance(value, bool), key, value, "true or false", where)
            found[_FLAGS[key]] = value
        elif key in _MAPS:
            _expect(isinstance(value, dict), key, value, "a table", where)
            found[_MAPS[key]] = {
                pattern: _settings(f"{key}.{pattern}", settings, where)
                for pattern, settings in value.items()
            }
        elif key == _PREFIX:
            _expect(isinstance(value, str), key, value, "a text", where)
            found["prefix"] = value
        else:
            raise _unknown(f"unknown key {key}", key, [*_LISTS, *_FLAGS, *_MAPS], where)
    full = PRESETS["full"]
    preset = Preset(
        **{
            "unet_classes": full.unet_classes,
            "unet_names": full.unet_names,
            "text_classes": full.text_classes,
            **found,
        }
    )
    if not preset.use_fnmatch:
        patterns = [pattern for name in _PATTERNS for pattern in getattr(preset, name)]
        for pattern in (*patterns, *preset.name_settings):
            check_pattern(pattern, where)
    return preset


def _settings(key: str, value: object, where: str) -> Settings:
    """One entry of a map, under our names."""
    if not isinstance(value, dict):
        raise ConfigError(f"{key} is {value!r}, expected a table", where=where, fix=f"change {key}")
    table: Settings = value
    for name, only in _TLORA.items():
        if table.get(name, only) != only:
            raise ConfigError(
                f"{key} sets {name} to {table[name]!r}; T-LoRA starts from the weight's largest "
                f"directions and goes by one table of timesteps, which is {only!r}",
                where=where,
                fix=f"remove {name}",
            )
    settings = {
        _RENAMED.get(name, name): setting for name, setting in table.items() if name not in _TLORA
    }
    for name, setting in settings.items():
        if name not in _KINDS:
            raise _unknown(f"{key} sets {name}, which is unknown", name, ["dim", *_KINDS], where)
        kinds = _KINDS[name]
        expected = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
        _expect(_is_of(setting, kinds), f"{name} of {key}", setting, expected, where)
    # As there, 0 stands for the size that all layers have.
    return {
        name: setting
        for name, setting in settings.items()
        if setting or name not in ("rank", "alpha")
    }


def _is_of(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return int in kinds or float in kinds
    return type(value) in kinds


def _texts(key: str, value: object, where: str) -> tuple[str, ...]:
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    _expect(texts, key, value, "a list of texts", where)
    return tuple(value)  # type: ignore[arg-type]  # a list: just checked


def _expect(right: bool, key: str, value: object, expected: str, where: str) -> None:
    if not right:
        raise ConfigError(
            f"{key} is {value!r}, expected {expected}", where=where, fix=f"change {key}"
        )


def _unknown(what: str, name: str, known: list[str], where: str) -> ConfigError:
    near = get_close_matches(name, known, n=1)
    return ConfigError(
        what,
        where=where,
        fix=f"did you mean {near[0]}?" if near else f"use {', '.join(sorted(known))}",
    )

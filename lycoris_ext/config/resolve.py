"""From layers of options to one config: flags over file over recipe over default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lycoris_ext.config.options import all_options, section_types
from lycoris_ext.config.recipes import RECIPES
from lycoris_ext.config.sd_scripts import ALWAYS_SO, HINTS, NOT_YET, WITHOUT_EFFECT, translate
from lycoris_ext.config.values import convert
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import PRESETS, is_preset_file
from lycoris_ext.options import Section
from lycoris_ext.training.config import TrainConfig


@dataclass(frozen=True)
class OptionSource:
    """Options from one place.

    Args:
        where: the file or "command line", for messages.
        values: option -> value, not checked yet.
    """

    where: str
    values: Mapping[str, object]


def build_config(layers: Sequence[OptionSource]) -> TrainConfig:
    """Put layers of options together, the later over the earlier, all over the defaults.

    The option `preset` takes a recipe's name (seed-default), whose options lie below all layers, or
    the name of a choice of layers (full, attn-mlp, ..., or a file), or a list of both.

    Raises:
        ConfigError: an option is unknown (the nearest is named), known to sd-scripts alone, of a
            wrong type, or out of range.
    """
    checked: dict[str, object] = {}
    recipe: dict[str, object] = {}
    for layer in layers:
        optimizer = checked.get("optimizer_type", recipe.get("optimizer_type"))
        values = translate(dict(layer.values), layer.where, optimizer)
        chosen = values.pop("preset", ())
        for name in [chosen] if isinstance(chosen, str) else _list(chosen, layer.where):
            if name in RECIPES:
                recipe = dict(RECIPES[name])
            else:
                values["preset"] = _layer_choice(name, layer.where)
        for name, value in values.items():
            checked[name] = _checked(name, value, layer.where)
    merged = recipe | checked
    sections = {
        section: kind(
            **{
                name: merged[name]
                for name, option in all_options().items()
                if option.section == section and name in merged
            }
        )
        for section, kind in section_types().items()
    }
    return TrainConfig(**sections)


def _checked(name: str, value: object, where: str) -> object:
    options = all_options()
    if name in options:
        section = section_types()[options[name].section]
        if issubclass(section, Section):
            return section.options()[name].convert(value, where)
        return convert(name, value, options[name].hint, where)
    if name in NOT_YET:
        raise ConfigError(
            f"{name} is an option of sd-scripts that lycoris_ext does not support yet",
            where=where,
            fix=HINTS.get(name, f"remove {name}"),
        )
    known = [*options, *ALWAYS_SO, *WITHOUT_EFFECT, "network_args", "optimizer_args"]
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    raise ConfigError(
        f"unknown option {name}",
        where=where,
        fix=f"did you mean {near[0]}?" if near else "see lycoris-ext train --help for all options",
    )


def _list(value: object, where: str) -> list[str]:
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)
    raise ConfigError(f"preset is {value!r}, expected a text", where=where, fix="change preset")


def _layer_choice(name: str, where: str) -> str:
    if name in PRESETS or is_preset_file(name):
        return name
    known = [*RECIPES, *PRESETS]
    near = get_close_matches(name, known, n=1)
    raise ConfigError(
        f"unknown preset {name!r}",
        where=where,
        fix=(f"did you mean {near[0]}? " if near else "")
        + f"recipes: {', '.join(RECIPES)}; layers: {', '.join(PRESETS)}, or a .toml file",
    )

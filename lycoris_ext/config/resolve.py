"""Combine options from flags, file, recipe and defaults, in this priority, to one config."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from lycoris_ext.config.recipes import RECIPES
from lycoris_ext.config.sd_scripts import ALWAYS_SO, HINTS, NOT_YET, WITHOUT_EFFECT, translate
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.network import PRESETS, is_preset_file
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.options import Option
from lycoris_ext.training.config import TrainConfig, all_options, section_types


@dataclass(frozen=True)
class OptionSource:
    """Options from a file or from the command line.

    Args:
        where: the file's name or "command line", for messages.
        values: option -> value, not checked yet.
    """

    where: str
    values: Mapping[str, object]


def build_config(layers: Sequence[OptionSource]) -> TrainConfig:
    """Combine options from several sources to one checked config.

    The option ``preset`` can be the name of a recipe (seed-default), the name of a choice of layers
    to adapt (full, attn-mlp, ..., or a preset file), or a list of both. A preset file is read here,
    so that faults in it are reported before a model is loaded.

    Args:
        layers: the sources; later ones override earlier ones, and each overrides the recipe.

    Raises:
        ConfigError: all faults at once: options that are unknown (the most similar known one is
            named), supported by sd-scripts only, of a wrong type, out of range, or contradicting
            each other.
    """
    known, faults = all_options(), Faults()
    given: dict[str, object] = {}
    recipe: dict[str, object] = {}
    wrong: set[str] = set()
    for layer in layers:
        values = {name: value for name, value in layer.values.items() if name in known}
        optimizer = given.get("optimizer_type", recipe.get("optimizer_type"))
        with faults:
            values = translate(dict(layer.values), layer.where, optimizer)
        with faults:
            for name in _presets(values.pop("preset", ()), layer.where):
                if name in RECIPES:
                    recipe = dict(RECIPES[name])
                else:
                    values["preset"] = name
        for name, value in values.items():
            wrong.add(name)
            with faults:
                given[name] = _find(name, known, layer.where).convert(value, layer.where)
                wrong.discard(name)
    return _put_together(recipe | given, wrong, faults)


def _put_together(
    values: Mapping[str, object], wrong: Collection[str], faults: Faults
) -> TrainConfig:
    """Create the config, or raise all faults; sections with wrong options are not created."""
    sections: dict[str, Any] = {}
    for section, kind in section_types().items():
        options = kind.options()
        if not options.keys() & wrong:
            with faults:
                sections[section] = kind(**{n: values[n] for n in options if n in values})
    if "network" in sections:
        with faults:
            read_preset(sections["network"])
    faults.raise_all()
    return TrainConfig(**sections)


def _find(name: str, known: Mapping[str, Option], where: str) -> Option:
    if name in known:
        return known[name]
    if name in NOT_YET:
        raise ConfigError(
            f"{name} is an option of sd-scripts that lycoris_ext does not support yet",
            where=where,
            fix=HINTS.get(name, f"remove {name}"),
        )
    names = [*known, *ALWAYS_SO, *WITHOUT_EFFECT, "network_args", "optimizer_args"]
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    raise ConfigError(
        f"unknown option {name}",
        where=where,
        fix=f"did you mean {near[0]}?" if near else "see lycoris-ext train --help for all options",
    )


def _presets(value: object, where: str) -> list[str]:
    """Return the names in the option ``preset``: of recipes, presets of layers, or preset files."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"preset is {value!r}, expected a text", where=where, fix="change preset")
    for name in names:
        if not (name in RECIPES or name in PRESETS or is_preset_file(name)):
            near = get_close_matches(name, [*RECIPES, *PRESETS], n=1)
            raise ConfigError(
                f"unknown preset {name!r}",
                where=where,
                fix=(f"did you mean {near[0]}? " if near else "")
                + f"recipes: {', '.join(RECIPES)}; layers: {', '.join(PRESETS)}, or a .toml file",
            )
    return list(names)

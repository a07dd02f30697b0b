"""Combine options from flags, file, recipe and defaults, in this priority, to one config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from lycoris_ext.config.imports.reading import Reading
from lycoris_ext.config.loosely import loose_table
from lycoris_ext.config.recipes import RECIPES
from lycoris_ext.config.sd_scripts import translate_into
from lycoris_ext.config.sd_scripts_options import SD_SCRIPTS
from lycoris_ext.data.subset import SubsetEntry
from lycoris_ext.errors import ConfigError, Faults, LycorisExtError
from lycoris_ext.formats.families import CLIP_TEXT
from lycoris_ext.network import PRESETS, is_preset_file
from lycoris_ext.options import Option, Section
from lycoris_ext.runs.paths import as_file_name, is_file_name
from lycoris_ext.training.config import TrainConfig, all_options, section_types
from lycoris_ext.words import short


@dataclass(frozen=True)
class OptionSource:
    """Options from a file or from the command line.

    Args:
        where: the file's name or "command line", for messages.
        values: option -> value, not checked yet.
        is_foreign: this is a config of another program. Its values are read as loosely as that
            program reads them, and options that have no effect on what is chosen are no mistake.
        defaults: values of options that no source and no recipe sets, where they are not ours.
        unsupported: errors for settings of the file that are not supported and not in ``values``.
    """

    where: str
    values: Mapping[str, object]
    is_foreign: bool = False
    defaults: Mapping[str, object] = field(default_factory=dict)
    unsupported: Sequence[LycorisExtError] = field(default=())


def build_config(layers: Sequence[OptionSource], reading: Reading | None = None) -> TrainConfig:
    """Combine options from several sources to one checked config.

    The option ``preset`` can be the name of a recipe (seed-default), the name of a choice of layers
    to adapt (full, attn-mlp, ..., or a preset file), or a list of both.

    Args:
        layers: the sources; later ones override earlier ones, and each overrides the recipe.
        reading: whether settings of other programs that are not supported are left out, and which
            were; None: they are errors.

    Raises:
        ConfigError: all faults at once: options that are unknown (the most similar known one is
            named), supported by sd-scripts only, of a wrong type, out of range, or contradicting
            each other.
    """
    reading = reading or Reading()
    given = _Given(reading)
    for layer in layers:
        given.take(layer)
    return given.config()


class _Given:
    """The options that the sources set so far.

    Args:
        reading: collects what is not supported.
    """

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.faults = Faults()
        self.known = all_options()
        self.defaults: dict[str, object] = {}
        self.recipe: dict[str, object] = {}
        self.values: dict[str, object] = {}
        self.foreign: set[str] = set()
        self.wrong: set[str] = set()

    def take(self, layer: OptionSource) -> None:
        """Add the options of a source."""
        self.reading.refuse(layer.unsupported, self.faults)
        self.defaults |= layer.defaults
        for name, value in self._translated(layer).items():
            fault = self._keep(name, value, layer)
            if fault and layer.is_foreign:
                self.reading.refuse([fault], self.faults)
            elif fault:
                self.faults.found.append(fault)
            if fault and not (layer.is_foreign and self.reading.skip_unsupported):
                self.wrong.add(name)

    def _translated(self, layer: OptionSource) -> dict[str, object]:
        """Translate a source into our options; take recipes out of it."""
        optimizer = (self.defaults | self.recipe | self.values).get("optimizer_type")
        values = translate_into(
            self.faults,
            layer.values,
            layer.where,
            optimizer,
            self.reading,
            is_foreign=layer.is_foreign,
        )
        if layer.is_foreign:
            values = self._loosely(values, layer.where)
        with self.faults:
            for name in _presets(values.pop("preset", ()), layer.where):
                if name in RECIPES:
                    self.recipe = dict(RECIPES[name])
                else:
                    values["preset"] = name
        return values

    def _loosely(self, values: dict[str, object], where: str) -> dict[str, object]:
        """Read the values of another program's config, and note options that nobody knows."""
        subsets = values.get("subsets")
        if isinstance(subsets, list):
            tables = [each for each in subsets if isinstance(each, Mapping)]
            values["subsets"] = [loose_table(table, SubsetEntry.options()) for table in tables]
        values = loose_table(values, self.known)
        for name in [name for name in values if name not in self.known]:
            if get_close_matches(name, self._names(), n=1, cutoff=0.8):
                continue
            self.reading.note(f"{where}: {name} was left out: no program known here has it")
            del values[name]
        if values.get("seed") == -1:  # in some windows: any seed
            del values["seed"]
        length = values.get("max_token_length")
        if isinstance(length, int) and length > CLIP_TEXT:  # sd-scripts drops what is left over
            values["max_token_length"] = length - length % CLIP_TEXT
        if "output_name" in values:
            name = str(values.pop("output_name")).removesuffix(".safetensors")
            usable = name if is_file_name(name) else as_file_name(as_file_name(name).strip(" ._"))
            if usable != name:
                told = f"here it is {usable}" if usable else "it was left out"
                self.reading.note(f"{where}: output_name {name!r} is no file name; {told}")
            if is_file_name(usable):
                values["output_name"] = usable
        return values

    def _keep(self, name: str, value: object, layer: OptionSource) -> ConfigError | None:
        """Check a value and keep it, or return what is wrong with it."""
        try:
            self.values[name] = self._find(name, layer.where).convert(value, layer.where)
        except ConfigError as error:
            return error
        self.wrong.discard(name)
        (self.foreign.add if layer.is_foreign else self.foreign.discard)(name)
        return None

    def _names(self) -> list[str]:
        return [*self.known, *SD_SCRIPTS, "network_args", "optimizer_args"]

    def _find(self, name: str, where: str) -> Option:
        if name in self.known:
            return self.known[name]
        near = get_close_matches(name, self._names(), n=1, cutoff=0.5)
        raise ConfigError(
            f"unknown option {short(name, 80)}",
            where=where,
            fix=f"did you mean {near[0]}?"
            if near
            else "see lycoris-ext train --help for all options",
        )

    def config(self) -> TrainConfig:
        """Create the config, or raise all faults.

        Of another program's options those that contradict others are left out, if that is asked.
        """
        values = self.defaults | self.recipe | self.values
        while True:
            try:
                return self._checked(values)
            except ConfigError as error:
                foreign = self.foreign & values.keys()
                disputed = {part.where: part for part in error.parts if part.where in foreign}
                self.reading.refused |= bool(disputed)
                if not (disputed and self.reading.skip_unsupported):
                    raise
            self.reading.refuse(disputed.values(), self.faults)
            values = {name: value for name, value in values.items() if name not in disputed}

    def _checked(self, values: Mapping[str, object]) -> TrainConfig:
        """Create the config, or raise all faults; sections with wrong options are not created."""
        faults = Faults(self.faults.found)
        sections: dict[str, Any] = {}
        for section, kind in section_types().items():
            options = kind.options()
            if options.keys() & self.wrong:
                continue
            with faults:
                own = self._read_by(kind, {n: values[n] for n in options if n in values})
                if "left_out" in options and self.reading.left_out:
                    told = tuple(error.what for error in self.reading.left_out)
                    own["left_out"] = (*own.get("left_out", ()), *told)
                sections[section] = kind(**own)
        faults.raise_all()
        return TrainConfig(**sections)

    def _read_by(self, kind: type[Section], own: dict[str, Any]) -> dict[str, Any]:
        """Drop other programs' options that the chosen algorithm, optimizer, ... does not read."""
        chosen, options = kind.kind_of(own), kind.options()
        return {
            name: value
            for name, value in own.items()
            if not (name in self.foreign and options[name].kinds) or chosen in options[name].kinds
        }


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

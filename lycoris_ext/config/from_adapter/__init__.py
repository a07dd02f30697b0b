"""Reconstruct from an adapter file the config with which it was trained, as far as possible.

Layers, ranks, alphas and algorithms are those of the tensors: a network that is built with the
config has the tensors of the file. Files of this library contain the rest of their config. In files
of other trainers most options follow from the ``ss_*`` fields of the metadata. Options that this
library would refuse are written as comments with the reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lycoris_ext.config.from_adapter.base_model import FoundLayers, Layers, find_layers
from lycoris_ext.config.from_adapter.choice import network_options
from lycoris_ext.config.from_adapter.fields import options_in_fields, told_by
from lycoris_ext.config.from_adapter.stored import builds
from lycoris_ext.config.resolve import OptionSource, build_config
from lycoris_ext.config.toml_file import parse_toml
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.metadata import json_object
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.network import NetworkConfig
from lycoris_ext.training.config import all_options
from lycoris_ext.words import count, one_line

STORED = "lycoris_ext_config"
#: Options of a network that leave no trace in its tensors.
_UNSEEN = frozenset(
    ("dropout", "rank_dropout", "rank_dropout_scale", "module_dropout", "use_scalar", "bypass_mode")
)
#: Longer lists of texts get a line for each text.
_LINE = 90


@dataclass(frozen=True)
class Setting:
    """One option of the config to write.

    Attributes:
        reason: why it is commented out; "" if it is not.
    """

    option: str
    value: Any
    reason: str = ""

    @property
    def is_tables(self) -> bool:
        """Whether it is written as tables, behind all other options."""
        return not self.reason and self.option == "overrides"

    def text(self) -> str:
        """Return it as TOML."""
        if self.is_tables:
            return "\n".join(map(self._table, self.value))
        text = f"{self.option} = {toml_value(self.value)}"
        if self.reason:
            return f"# {one_line(f'{text}  # {self.reason}')}"
        if len(text) > _LINE and isinstance(self.value, (list, tuple)):
            lines = "".join(f"    {toml_value(item)},\n" for item in self.value)
            return f"{self.option} = [\n{lines}]"
        return text

    def _table(self, values: Mapping[str, Any]) -> str:
        lines = [f"{name} = {toml_value(value)}" for name, value in values.items()]
        return "\n".join(["", f"[[{self.option}]]", *lines])


def write_config(metadata: Mapping[str, str], layers: Layers) -> str:
    """Return a config as TOML text that would train an adapter file again.

    Args:
        metadata: of the file.
        layers: layer's name in the file -> its tensors, as ``AdapterState.layers`` returns them.

    Raises:
        FormatError: no algorithm stores these tensors.
    """
    heading = []
    found = find_layers(layers, metadata.get("ss_base_model_version", ""))
    stored: dict[str, object] = {}
    try:
        stored = _stored(metadata)
    except ConfigError as error:
        heading.append(one_line(f"# The config in the file is damaged ({error.what})."))
    values: dict[str, object] = stored or dict(options_in_fields(metadata))
    source = "the config that the file holds" if stored else "the file's ss_* fields"
    if layers and not (stored and builds(stored, found)):
        seen = NetworkConfig.options().keys() - _UNSEEN
        rest = {name: value for name, value in values.items() if name not in seen}
        values = {**network_options(found, told_by(metadata, stored)), **rest}
        source += " and its tensors"
        if found.targets is None:
            heading.append("# include names all layers of the file: its base model is not known.")
    heading += _beside(found)
    settings = _try(values)
    if any(_is_path(setting) for setting in settings):
        heading.append("# Adapter files hold only the last part of paths: complete them.")
    missing = [
        one_line(f"# {option} = {text}")
        for option, text in _missing(metadata).items()
        if not any(setting.option == option for setting in settings)
    ]
    first = f"# From {source}. Lines that begin with # could not be taken over."
    lines = [setting.text() for setting in sorted(settings, key=lambda one: one.is_tables)]
    tables = sum(setting.is_tables for setting in settings)
    lines[len(lines) - tables : len(lines) - tables] = missing
    return "\n".join([first, *heading, "", *lines, ""])


def _beside(found: FoundLayers) -> list[str]:
    """Return a comment on what the file holds and no option makes; none if there is nothing."""
    layers = Counter(one.title for layer in found.layers for one in layer.plan.beside)
    if not layers:
        return []
    held = ", ".join(f"{title} in {count(n, 'layer')}" for title, n in layers.items())
    return [
        f"# No option makes what the file has beside its factors: {held}.",
        "# To train it further, set network_weights to the file and dim_from_weights = true.",
    ]


def _is_path(setting: Setting) -> bool:
    known = all_options().get(setting.option)
    return known is not None and known.is_path and setting.value not in known.allowed()


def _try(found: Mapping[str, object]) -> list[Setting]:
    """Check each option together with the valid ones before it; note why it is refused."""
    taken: dict[str, object] = {}
    settings = []
    for option, value in found.items():
        try:
            build_config([OptionSource("the file", {**taken, option: value})])
        except ConfigError as error:
            settings.append(Setting(option, value, error.what))
        else:
            taken[option] = value
            settings.append(Setting(option, value))
    return settings


def _stored(metadata: Mapping[str, str]) -> dict[str, object]:
    """Return the options of the config that a file of this library contains, else {}."""
    text = metadata.get(STORED, "")
    return dict(parse_toml(text, STORED).values) if text else {}


def _missing(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return option -> comment for options that every run needs and no adapter file contains."""
    folders = json_object(metadata.get("ss_dataset_dirs", ""))
    held = ", ".join(f"{folder} {json.dumps(size)}" for folder, size in folders.items())
    return {
        "pretrained_model_name_or_path": '"..."  # the base model; the file does not name it',
        "train_data_dir": '"..."  # ' + (f"it held {held}" if held else "the pictures"),
    }

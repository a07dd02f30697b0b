"""Turning the texts of ``--network_args`` into options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import NoneType
from typing import Any

from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.network import NetworkConfig
from lycoris_ext.network.block_arguments import BLOCK_ARGUMENTS
from lycoris_ext.network.sd_scripts_names import (
    OF_SCRIPTS,
    OLD_OPPOSITES,
    RATIOS,
    as_network_args,
    network_options,
    split_list,
)
from lycoris_ext.options import TYPE_NAMES, Option, alternatives

_WHERE = "network_args"
_DEFAULT_RANK = 4  # without --network_dim, as in LyCORIS and sd-scripts

#: Arguments that are no options of ``NetworkConfig``: name -> type.
_BESIDE: dict[str, type] = {
    **dict.fromkeys(RATIOS, float),
    **dict.fromkeys(BLOCK_ARGUMENTS, str),
    **dict.fromkeys(OLD_OPPOSITES, bool),
    "train_t5xxl": bool,
    "train_llm_adapter": bool,
    "warn_on_unmatched": bool,  # lycoris-lora 4's; here a pattern without a layer is an error
}
_BOOLS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


@dataclass(frozen=True)
class Arguments:
    """The options that a user gave to a script for the network.

    Attributes:
        config: the options of the network, without those of single blocks.
        blocks: sd-scripts' arguments about blocks: name -> text.
        ratios: LoRA+'s ratios of learning rates, under ``Network.param_groups``' names for them.
        train_t5xxl, train_llm_adapter: whether these parts of a model are adapted.
    """

    config: NetworkConfig
    blocks: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    train_t5xxl: bool = False
    train_llm_adapter: bool = False

    def as_texts(self) -> dict[str, str]:
        """Write the network's options as ``--network_args`` has them, for the metadata.

        Options with their default values are left out, except the algorithm, the preset and the
        rank of convolutions: their defaults in sd-scripts are others than ours.
        """
        return as_network_args(self.config)


def read_arguments(
    network_dim: int | None,
    network_alpha: float | None,
    neuron_dropout: float | None,
    given: Mapping[str, object],
) -> Arguments:
    """Read the options of a new network; what is not given has LyCORIS's default.

    Args:
        network_dim: ``--network_dim``.
        network_alpha: ``--network_alpha``; 0 makes it as large as the rank.
        neuron_dropout: ``--network_dropout``.
        given: ``--network_args``: name -> value, usually as text.

    Raises:
        ConfigError: an argument is unknown, or its value has the wrong type or is out of range.
    """
    values = _read(given)
    rank = _DEFAULT_RANK if network_dim is None else network_dim
    alpha = 1.0 if network_alpha is None else float(network_alpha)
    # In sd-scripts "lora" adapts convolutions larger than 1x1 as well, as LyCORIS' lora does.
    conv_dim = values.setdefault("conv_dim", rank)
    conv_alpha = values.pop("conv_alpha", alpha) or conv_dim
    values.setdefault("algo", "lora")
    values["algo"] = values["algo"].lower()
    if neuron_dropout is not None:
        values.setdefault("dropout", float(neuron_dropout))
    options = NetworkConfig.options()
    config = {name: value for name, value in values.items() if name in options}
    if conv_alpha:
        config["conv_alpha"] = float(conv_alpha)
    return Arguments(
        NetworkConfig(network_dim=rank, network_alpha=alpha or float(rank), **config),
        {name: values[name] for name in BLOCK_ARGUMENTS if name in values},
        {name: values[name] for name in RATIOS if name in values},
        values.get("train_t5xxl", False),
        values.get("train_llm_adapter", False),
    )


def _read(given: Mapping[str, object]) -> dict[str, Any]:
    """Convert the texts to values of their types; empty texts and "None" are left out.

    Raises:
        ConfigError: arguments are unknown, or values have the wrong type; all of them are listed.
    """
    options, faults = network_options(), Faults()
    values: dict[str, Any] = {}
    for name, text in given.items():
        with faults:
            known = _find(name, options)
            if text is None or text in ("", "None"):
                continue
            value = _value(name, text, known)
            if name in OLD_OPPOSITES:
                values[OLD_OPPOSITES[name]] = not value
            else:
                values[known.name if isinstance(known, Option) else name] = value
    faults.raise_all()
    return values


def _find(name: str, options: Mapping[str, Option]) -> Option | type:
    """Find the option that an argument sets; for an argument that sets none, return its type.

    Raises:
        ConfigError: no argument has this name.
    """
    if name in options:
        return options[name]
    if name in _BESIDE:
        return _BESIDE[name]
    if name in OF_SCRIPTS:
        raise ConfigError(f"{name} is an option of the script", where=_WHERE, fix=f"use --{name}")
    known = [*options, *_BESIDE]
    near = get_close_matches(name, known, n=1)
    raise ConfigError(
        f"unknown argument {name}",
        where=_WHERE,
        fix=f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(known))}",
    )


def _value(name: str, given: object, known: Option | type) -> Any:
    """Convert a text, or a value of the right type, to an argument's type.

    Args:
        name: of the argument, for messages.
        given: the text or value.
        known: what ``_find`` returned for the argument.

    Raises:
        ConfigError: the text is no such value.
    """
    text = str(given).strip()
    if isinstance(known, Option) and known.is_list:
        return split_list(text)
    hint = known.hint if isinstance(known, Option) else known
    kind = next(kind for kind in alternatives(hint) if kind is not NoneType)
    if kind is str:
        return text
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{name} is {text!r}, expected {TYPE_NAMES[kind]}", where=_WHERE, fix=f"change {name}"
        ) from error

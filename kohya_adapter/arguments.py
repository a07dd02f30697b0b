"""``--network_args``: texts to options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args, get_type_hints

from kohya_adapter.blocks import BLOCK_ARGUMENTS
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig
from lycoris_ext.network.sd_scripts_names import (
    NETWORK_ARGS,
    OF_SCRIPTS,
    OLD_NAMES,
    OLD_OPPOSITES,
    RATIOS,
    split_list,
)

_WHERE = "network_args"
_DEFAULT_RANK = 4  # LyCORIS's and sd-scripts', where --network_dim is not given

_KINDS: dict[str, Any] = {
    name: hint for name, hint in get_type_hints(NetworkConfig).items() if name in NETWORK_ARGS
} | {
    **dict.fromkeys(RATIOS, float),
    **dict.fromkeys(BLOCK_ARGUMENTS, str),
    "train_t5xxl": bool,
    "train_llm_adapter": bool,
    "warn_on_unmatched": bool,  # lycoris-lora 4's; here a pattern without a layer is an error
}
_BOOLS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Arguments:
    """What the user asked for.

    Attributes:
        config: of the network; blocks apart.
        blocks: sd-scripts' arguments about blocks, texts.
        ratios: of LoRA+, by the names that ``Network.param_groups`` has for them.
        train_t5xxl, train_llm_adapter: whether these parts are trained.
    """

    config: NetworkConfig
    blocks: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    train_t5xxl: bool = False
    train_llm_adapter: bool = False

    def as_texts(self) -> dict[str, str]:
        """The network's options as ``--network_args`` would have them, defaults of LyCORIS's that
        differ from the core's included."""
        always = ("algo", "preset", "conv_dim", "conv_alpha")
        values = {
            option.name: getattr(self.config, option.name)
            for option in fields(NetworkConfig)
            if option.name in always
            or (option.name in _KINDS and getattr(self.config, option.name) != option.default)
        }
        return {
            name: ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }


def read_arguments(
    network_dim: int | None,
    network_alpha: float | None,
    neuron_dropout: float | None,
    given: Mapping[str, object],
) -> Arguments:
    """The options of a new network, with LyCORIS's defaults.

    Args:
        network_dim: ``--network_dim``.
        network_alpha: ``--network_alpha``; 0: as large as the rank.
        neuron_dropout: ``--network_dropout``.
        given: ``--network_args``, values as they were written.

    Raises:
        ConfigError: an argument is unknown, or its value is of another kind or out of range.
    """
    values = _read(given)
    rank = _DEFAULT_RANK if network_dim is None else network_dim
    alpha = 1.0 if network_alpha is None else float(network_alpha)
    # Here "lora" adapts wide convolutions as well, as LyCORIS's does.
    conv_dim = values.setdefault("conv_dim", rank)
    conv_alpha = values.pop("conv_alpha", alpha) or conv_dim
    values.setdefault("algo", "lora")
    values["algo"] = values["algo"].lower()
    if neuron_dropout is not None:
        values.setdefault("dropout", float(neuron_dropout))
    config = {name: value for name, value in values.items() if hasattr(NetworkConfig, name)}
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
    """Argument -> value of its kind; those that say nothing are left out."""
    values: dict[str, Any] = {}
    for name, text in given.items():
        if text is None or text in ("", "None"):
            _kind(name)
            continue
        if name in OLD_OPPOSITES:
            values[OLD_OPPOSITES[name]] = not _value(name, text, bool)
        else:
            values[OLD_NAMES.get(name, name)] = _value(name, text, _kind(name))
    return values


def _kind(name: str) -> Any:
    """The type of an argument.

    Raises:
        ConfigError: there is none of this name.
    """
    if name in OLD_OPPOSITES:
        return bool
    if name in OF_SCRIPTS:
        raise ConfigError(f"{name} is an option of the script", where=_WHERE, fix=f"use --{name}")
    kind = _KINDS.get(OLD_NAMES.get(name, name))
    if kind is None:
        known = [*_KINDS, *OLD_NAMES, *OLD_OPPOSITES]
        near = get_close_matches(name, known, n=1)
        raise ConfigError(
            f"unknown argument {name}",
            where=_WHERE,
            fix=f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(known))}",
        )
    return kind


def _value(name: str, given: object, hint: Any) -> Any:
    """A text as the option's type; a value that is of that type already is itself.

    Raises:
        ConfigError: it is another thing.
    """
    kind = next((kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis)), hint)
    listed = kind is not hint and NoneType not in get_args(hint)
    text = str(given).strip()
    if listed:
        return split_list(text)
    if kind is str:
        return text
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{name} is {text!r}, expected {_WORDS[kind]}", where=_WHERE, fix=f"change {name}"
        ) from error

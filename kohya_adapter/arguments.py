"""Turning the texts of ``--network_args`` into options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import NoneType
from typing import Any

from kohya_adapter.layer_choices import LAYER_ARGUMENTS
from lycoris_ext.algorithms import algorithm, algorithm_names
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.network import NetworkConfig, is_preset_file
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
    **dict.fromkeys(LAYER_ARGUMENTS, str),
    **dict.fromkeys(OLD_OPPOSITES, bool),
    "unit": int,  # networks.dylora's name of block_size
    "verbose": bool,
    "train_t5xxl": bool,
    "train_llm_adapter": bool,
    "warn_on_unmatched": bool,  # lycoris-lora 4's; here a pattern without a layer is an error
}
DIFFERENT = {
    "split_qkv": "in networks.lora_flux it gives queries, keys and values factors of their own; "
    "here the layer that computes all three has one adapter. A larger rank of these layers "
    "(img_attn_dim, txt_attn_dim, single_dim, x_attn_dim, network_reg_dims) learns as much",
    "enable_all_linear": "preset=attn-mlp adapts all Linear layers, preset=attn-only attention",
    "enable_conv": "convolutions are adapted if conv_dim is not 0",
    "ggpo_beta": "GGPO disturbs the weights in training by the size of their gradients",
    "ggpo_sigma": "GGPO disturbs the weights in training by the size of their gradients",
}
"""Arguments of sd-scripts' modules that do not exist here -> why, or what to take instead."""
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
        layers: sd-scripts' arguments about layers of transformers: name -> text.
        ratios: LoRA+'s ratios of learning rates, under ``Network.param_groups``' names for them.
        alpha_is_rank: whether alpha was given as 0, which makes it as large as each layer's rank.
        train_t5xxl, train_llm_adapter: whether these parts of a model are adapted.
        verbose: whether every adapted layer is logged.
        notes: what was given and has no effect, one sentence each.
    """

    config: NetworkConfig
    blocks: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    alpha_is_rank: bool = False
    train_t5xxl: bool = False
    train_llm_adapter: bool = False
    verbose: bool = False
    notes: tuple[str, ...] = ()

    def as_texts(self) -> dict[str, str]:
        """Write the network's options as ``--network_args`` has them, for the metadata.

        Options with their default values are left out, except the algorithm, the preset and the
        rank of convolutions: their defaults in sd-scripts are others than ours.
        """
        return as_network_args(self.config)


def without_spaces(given: Mapping[str, object]) -> dict[str, Any]:
    """Return arguments without the spaces around names and texts, such as of "algo = loha"."""
    return {
        name.strip(): value.strip() if isinstance(value, str) else value
        for name, value in given.items()
    }


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
    notes = [*_without_effect(values)]
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
        blocks={name: values[name] for name in BLOCK_ARGUMENTS if name in values},
        layers={name: values[name] for name in LAYER_ARGUMENTS if name in values},
        ratios={name: values[name] for name in RATIOS if name in values},
        alpha_is_rank=alpha == 0,
        train_t5xxl=values.get("train_t5xxl", False),
        train_llm_adapter=values.get("train_llm_adapter", False),
        verbose=values.get("verbose", False),
        notes=tuple(notes),
    )


def _without_effect(values: dict[str, Any]) -> Iterator[str]:
    """Take out what changes nothing in LyCORIS either, and yield a sentence about each.

    ``wd_on_output`` is true in LyCORIS unless it is given, with DoRA and without. A preset file may
    switch DoRA on for some layers.
    """
    with_dora = values.get("dora_wd") or is_preset_file(values.get("preset", ""))
    if values.get("wd_on_output") and not with_dora:
        del values["wd_on_output"]
        yield "wd_on_output has no effect without dora_wd=True"


def _read(given: Mapping[str, object]) -> dict[str, Any]:
    """Convert the texts to values of their types; empty texts and "None" are left out.

    Raises:
        ConfigError: arguments are unknown, or values have the wrong type; all of them are listed.
    """
    options, faults = network_options(), Faults()
    values: dict[str, Any] = {}
    for name, text in given.items():
        with faults:
            known = None if _is_as_always(name, text) else _find(name, options)
            if text is None or text in ("", "None") or known is None:
                continue
            value = _value(name, text, known)
            if name == "unit":
                values.setdefault("block_size", value)
            elif name in OLD_OPPOSITES:
                values[OLD_OPPOSITES[name]] = not value
            else:
                values[known.name if isinstance(known, Option) else name] = value
    faults.raise_all()
    return values


def _is_as_always(name: str, text: object) -> bool:
    """Whether an argument asks for what is always so; then it may be given, and does nothing.

    Raises:
        ConfigError: it is an option of LyCORIS that has another value here.
    """
    fixed = {
        option: only
        for known in algorithm_names()
        for option, only in algorithm(known).fixed.items()
    }
    told = str(text).strip().lower()
    if name in DIFFERENT:
        return told in ("", "none") or _BOOLS.get(told) is False
    if name not in fixed or text is None:
        return False
    if told != str(fixed[name]).lower():
        raise ConfigError(
            f"{name} is {str(text)!r}, and here it is always {fixed[name]!r}",
            where=_WHERE,
            fix=f"leave {name} out",
        )
    return True


def _find(name: str, options: Mapping[str, Option]) -> Option | type:
    """Find the option that an argument sets; for an argument that sets none, return its type.

    Raises:
        ConfigError: no argument has this name.
    """
    if name in options:
        return options[name]
    if name in _BESIDE:
        return _BESIDE[name]
    if name in DIFFERENT:
        raise ConfigError(
            f"{name} is not supported: {DIFFERENT[name]}",
            where=_WHERE,
            fix=f"leave {name} out",
        )
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

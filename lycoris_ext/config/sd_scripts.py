"""Translate options of sd-scripts, from files and flags of its users, into ours."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec

from lycoris_ext.config.imports.datasets import with_subsets
from lycoris_ext.config.imports.reading import Reading, unsupported
from lycoris_ext.config.network_modules import MODULE_ARGUMENTS, as_our_network, nearest_module
from lycoris_ext.config.sd_scripts_optimizers import optimizer_options, with_our_optimizer
from lycoris_ext.config.sd_scripts_options import (
    FAMILY_OF_MODULE,
    FIX_OF_FAMILY,
    MARKS_OF_OTHER_FAMILIES,
    RENAMED,
    is_off,
    row_of,
)
from lycoris_ext.data.subset import SubsetEntry
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.network.sd_scripts_names import (
    OLD_OPPOSITES,
    RATIOS,
    network_options,
    split_list,
)
from lycoris_ext.options.arguments import argument_pairs, literal
from lycoris_ext.training.config import all_options

Values = dict[str, object]

_TRANSLATED = (
    "network_module",
    "network_args",
    "optimizer_args",
    "lr_scheduler_args",
    "training_script",
    "model_train_type",
    "log_with",
    "logging_dir",
)
"""Options of sd-scripts that functions of this file turn into ours."""
_NEEDS = {
    "noise_offset_random_strength": "noise_offset",
    "ip_noise_gamma_random_strength": "ip_noise_gamma",
}
"""Option -> the option without which it has no effect; sd-scripts takes it nevertheless."""
_OF_SCHEDULES = {
    "step_rules": "lr_scheduler_step_rules",
    "power": "lr_scheduler_power",
    "timescale": "lr_scheduler_timescale",
    "min_lr_rate": "lr_scheduler_min_lr_ratio",
    "min_lr_ratio": "lr_scheduler_min_lr_ratio",
}
"""Name in lr_scheduler_args -> our option, where lr_scheduler_type is unset."""
_CURVES = "loss and learning rates are in NAME.events.jsonl"


def translate(values: Mapping[str, object], where: str, optimizer_type: object = None) -> Values:
    """Translate options of sd-scripts (network_args, optimizer_args, datasets, ...) into ours.

    Args:
        values: option -> value as read from a file or flags; our own options are kept.
        where: the file's name or "command line", for messages.
        optimizer_type: the optimizer that optimizer_args are for, if ``values`` do not choose one;
            None: the default optimizer.

    Returns:
        Our option -> value; unknown options are kept, too.

    Raises:
        ConfigError: all faults at once: options that are not supported, unknown arguments in
            network_args or optimizer_args, contradictions.
    """
    faults = Faults()
    result = translate_into(faults, values, where, optimizer_type, Reading())
    faults.raise_all()
    return result


def translate_into(
    faults: Faults,
    values: Mapping[str, object],
    where: str,
    optimizer_type: object,
    reading: Reading,
    *,
    is_foreign: bool = False,
) -> Values:
    """Translate options as ``translate`` does, and go on after faults.

    Args:
        faults: collects what is wrong.
        values, where, optimizer_type: as for ``translate``.
        reading: whether what is not supported is left out, and what was.
        is_foreign: the values are from a config of another program.

    Returns:
        Our option -> value, without options that are at fault.
    """
    refused = Faults()
    try:
        values = with_subsets(values, where)
    except ConfigError as error:
        faults.found.append(error)
        values = {n: v for n, v in values.items() if n not in ("general", "datasets")}
    values = {RENAMED.get(name, name): value for name, value in values.items()}
    values = with_our_optimizer(values, where, reading, faults)
    values = _of_known_family(values, where, refused)
    chosen = values.get("optimizer_type", optimizer_type)
    ours: dict[str, Values] = {name: {} for name in _TRANSLATED}
    for argument, text in _pairs("network_args", values, where, faults):
        with refused:
            ours["network_args"] |= _network_argument(argument, text, where)
    if values.get("optimizer_args"):
        with refused:
            ours["optimizer_args"] = optimizer_options(values["optimizer_args"], where, chosen)
    ours["lr_scheduler_args"] = _schedule(values, where, refused)
    ours["save_n_epoch_ratio"] = _epochs_between_copies(values)
    result = _supported(values, ours, where, refused, is_foreign)
    result |= _logging(values, reading, is_foreign)
    # In LyCORIS 0 means the rank.
    if result.get("conv_alpha") == 0 and "conv_alpha" not in values:
        result["conv_alpha"] = result.get("conv_dim") or result.get("network_dim", 0)
    module = values.get("network_module")
    try:
        result = as_our_network(module, result, where)
    except ConfigError as error:
        refused.found.append(error)
        rest = {name: v for name, v in result.items() if name not in MODULE_ARGUMENTS}
        result = as_our_network(nearest_module(module), rest, where)
    reading.refuse(refused.found, faults)
    return result


def _supported(
    values: Mapping[str, object],
    ours: Mapping[str, Values],
    where: str,
    refused: Faults,
    is_foreign: bool,
) -> Values:
    """Drop options that change nothing here, and refuse those that are not supported.

    Args:
        values: option of sd-scripts -> value.
        ours: option of sd-scripts -> the options that take its place.
        where: the file, for messages.
        refused: collects what is not supported.
        is_foreign: the values are from a config of another program.
    """
    known = all_options()
    result: Values = {}
    for name, value in values.items():
        row = None if name in known else row_of(name)
        if name == "subsets" and isinstance(value, list):
            result[name] = [_subset(table, where, refused) for table in value]
        elif name in ours:
            result |= ours[name]
        elif name in _NEEDS and is_foreign and is_off(values.get(_NEEDS[name])):
            continue
        elif row is None:
            result[name] = value
        elif not row.changes_nothing(value):
            refused.found.append(unsupported(name, value, where, row.fix))
    return result


def _schedule(values: Mapping[str, object], where: str, refused: Faults) -> Values:
    """Translate lr_scheduler_args: with lr_scheduler_type they are kept, else they are options."""
    given = values.get("lr_scheduler_args")
    if values.get("lr_scheduler_type"):
        pairs = _pairs("lr_scheduler_args", values, where, refused)
        return {"lr_scheduler_args": [f"{name}={text}" for name, text in pairs]} if given else {}
    found: Values = {}
    for name, text in _pairs("lr_scheduler_args", values, where, refused):
        if name in _OF_SCHEDULES:
            found[_OF_SCHEDULES[name]] = text if name == "step_rules" else literal(text)
            continue
        refused.found.append(
            unsupported(
                "lr_scheduler_args",
                f"{name}={text}",
                where,
                f"use {', '.join(_OF_SCHEDULES)}, or the options of lr_scheduler",
            )
        )
    return found


def _subset(table: object, where: str, refused: Faults) -> object:
    """Do the same for a table of subsets."""
    if not isinstance(table, Mapping):
        return table
    known = SubsetEntry.options()
    kept: Values = {}
    for name, value in table.items():
        row = None if name in known else row_of(name)
        if row is None:
            kept[name] = value
        elif not row.changes_nothing(value):
            refused.found.append(unsupported(name, value, where, row.fix))
    return kept


def _of_known_family(values: Values, where: str, refused: Faults) -> Values:
    """Refuse a config for models of another family, in one sentence that names what shows it."""
    module = str(values.get("network_module") or "")
    words = {
        name: str(values.get(name) or "")
        for name in ("network_module", "model_train_type", "model_type", "training_script")
    }
    families = {
        family: f"{name} = {text!r}"
        for name, text in words.items()
        for part, family in FAMILY_OF_MODULE.items()
        if part in re.split(r"[-_.]", text.lower())
    }
    marks = [name for name in MARKS_OF_OTHER_FAMILIES if values.get(name)]
    if not families and not marks:
        return values
    family = next(iter(families), "another family")
    shown = [*families.values(), *(f"{name} is set" for name in marks)]
    refused.found.append(
        ConfigError(
            f"this config trains a model of {family} ({', '.join(shown)})",
            where=where,
            fix=FIX_OF_FAMILY,
        )
    )
    is_of_sd_scripts = "networks." in module
    return values | ({"network_module": "networks.lora"} if is_of_sd_scripts else {})


def _logging(values: Mapping[str, object], reading: Reading, is_foreign: bool) -> Values:
    """Choose where the curves go; sd-scripts writes TensorBoard's files if a folder is named."""
    found = {n: values[n] for n in ("log_with", "logging_dir") if not is_off(values.get(n))}
    if not found:
        return {}
    if found.get("log_with") == "wandb" and is_foreign:
        reading.note(f'log_with = "wandb" was left out: {_CURVES}')
        return {}
    if "logging_dir" in found and found.get("log_with", "all") == "all":
        found["log_with"] = "tensorboard"
    implied = is_foreign or "log_with" not in values
    if found.get("log_with") == "tensorboard" and implied and find_spec("tensorboard") is None:
        reading.note(
            f"logging_dir was left out, because the package tensorboard is not installed: {_CURVES}"
        )
        return {}
    return found


def _epochs_between_copies(values: Mapping[str, object]) -> Values:
    """Turn the number of copies that a run saves into epochs between them, as sd-scripts does."""
    try:
        copies, epochs = (
            int(str(values.get(name) or 0)) for name in ("save_n_epoch_ratio", "max_train_epochs")
        )
    except ValueError:
        return {}
    return {"save_every_n_epochs": max(1, epochs // copies)} if copies > 0 and epochs else {}


def _pairs(
    name: str, values: Mapping[str, object], where: str, faults: Faults
) -> Iterable[tuple[str, str]]:
    with faults:
        return argument_pairs(name, values.get(name), where)
    return []


_SPELT_OTHERWISE = {
    "use_dora": "dora_wd",
    "use_rslora": "rs_lora",
    "use_conv_cp": "use_tucker",
}


def _network_argument(name: str, text: str, where: str) -> Values:
    value = literal(text)
    if name in OLD_OPPOSITES:
        if not isinstance(value, bool):
            raise ConfigError(
                f"network_args has {name}={text}, expected true or false",
                where=where,
                fix=f"change {name}",
            )
        return {OLD_OPPOSITES[name]: not value}
    if name in RATIOS:
        return {name: value} if value not in (None, 0, "") else {}
    if name in MODULE_ARGUMENTS:
        return {name: text}
    options = network_options()
    if name not in options:
        return _unknown_argument(name, text, where)
    known = options[name]
    if value is None or text == "":
        return {}
    if known.name == "algo":
        return {known.name: text.lower()}
    if known.is_list:
        return {known.name: split_list(text)}
    if isinstance(value, float) and value.is_integer() and math.isfinite(value):
        value = int(value) if known.hint is int or known.hint == (int | None) else value
    return {known.name: text if known.hint is str else value}


def _unknown_argument(name: str, text: str, where: str) -> Values:
    """Take an argument that is off or empty; refuse any other, naming the nearest that is known."""
    if literal(text) in (None, False, 0, "", "all"):
        return {}
    names = [*network_options(), *RATIOS]
    near = _SPELT_OTHERWISE.get(name) or next(iter(get_close_matches(name, names, n=1)), None)
    raise ConfigError(
        f"network_args has {name}={text}, which is not supported",
        where=where,
        fix=f"did you mean {near}?" if near else "use one of " + ", ".join(sorted(names)),
    )

"""sd-scripts' ways of choosing an optimizer, and its optimizer_args, in our options."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lycoris_ext.config.imports.reading import Reading
from lycoris_ext.errors import ConfigError, EnvironmentFault, Faults
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.options.arguments import argument_pairs, literal
from lycoris_ext.training.optimizer_kinds import (
    optimizer_kind,
    optimizer_kinds,
    optimizer_names,
)
from lycoris_ext.training.optimizers import OptimizerConfig

Values = dict[str, object]

OTHER_NAMES = {
    "dadaptadampreprint": "DAdaptation",
    "sgdnesterov": "SGD",
    "came_pytorch.came": "CAME",
    "lion_pytorch.lion": "Lion",
}
"""Other name of an optimizer, in small letters -> the name that it has here."""
_MORE_ARGUMENTS = {"sgdnesterov": "nesterov=True"}
"""Other name -> what it adds to optimizer_args."""

ADAPTIVE = ("dadapt", "prodigy")
"""Parts of the names of optimizers that find the learning rate themselves. The rates in their
configs are factors of about 1, which would be far too high for another optimizer."""

USUAL_RATE = 1e-4
"""Learning rate in place of such a factor, if the optimizer is left out: usual for LoRA."""

RATES = ("learning_rate", "unet_lr", "text_encoder_lr")

_SWITCHES_OF_OTHERS = {"use_lion_optimizer": "Lion"}


def with_our_optimizer(values: Values, where: str, reading: Reading, faults: Faults) -> Values:
    """Replace the name and the switches of an optimizer by the name that we have for it.

    If we have none, it is refused together with its optimizer_args; if what is not supported is to
    be left out, the nearest one takes its place.

    Args:
        values: option of sd-scripts -> value.
        where: the file, for messages.
        reading: collects what is not supported.
        faults: collects errors.
    """
    values = _with_chosen(values, where, faults)
    name = str(values.get("optimizer_type") or "")
    ours = {known.lower(): known for known in optimizer_names()} | OTHER_NAMES
    if not name or name.lower() in ours:
        return values | ({"optimizer_type": ours[name.lower()]} | _more(values) if name else {})
    if "." in name:
        return values
    if issubclass(getattr(torch.optim, name, object), torch.optim.Optimizer):
        return values | {"optimizer_type": f"torch.optim.{name}"}
    nearest = "AdamW8bit" if "8bit" in name.lower() else "AdamW"
    finds_rate = any(part in name.lower() for part in ADAPTIVE)
    reading.refuse([_refusal(name, nearest, finds_rate, values, where)], faults)
    # Whether it is refused or left out: what follows is checked with the nearest one.
    rest = {n: v for n, v in values.items() if n != "optimizer_args"}
    if finds_rate:
        rest = {n: v for n, v in rest.items() if n not in RATES or str(v) in ("0", "0.0")}
        rest["learning_rate"] = USUAL_RATE
    return rest | {"optimizer_type": nearest}


def _more(values: Values) -> Values:
    """Add what another name of an optimizer says by itself to optimizer_args."""
    added = _MORE_ARGUMENTS.get(str(values["optimizer_type"]).lower())
    if added is None:
        return {}
    given = argument_pairs("optimizer_args", values.get("optimizer_args"), "optimizer_type")
    return {"optimizer_args": [added, *(f"{name}={text}" for name, text in given)]}


def _refusal(
    name: str, nearest: str, finds_rate: bool, values: Mapping[str, object], where: str
) -> ConfigError:
    what = f"optimizer_type = {toml_value(name)}"
    if values.get("optimizer_args"):
        what += " with its optimizer_args"
    fix = f'use one of {", ".join(optimizer_names())}; the nearest is "{nearest}"'
    if finds_rate:
        what += ", which finds the learning rate itself,"
        fix += f", and with it learning_rate = {USUAL_RATE:g} in place of its factors"
    return ConfigError(f"{what} is not supported", where=where, fix=fix)


def _with_chosen(values: Values, where: str, faults: Faults) -> Values:
    """Replace options that switch on an optimizer, such as use_8bit_adam, by optimizer_type."""
    switches = {kind.switch: kind.name for kind in optimizer_kinds() if kind.switch}
    switches = _SWITCHES_OF_OTHERS | switches
    rest = {name: value for name, value in values.items() if name not in switches}
    for switch, chosen in switches.items():
        if values.get(switch) not in (True, "true", "True"):
            continue
        given = rest.get("optimizer_type") or chosen
        if str(given).lower() != chosen.lower():
            faults.found.append(
                ConfigError(
                    f"{switch} chooses {chosen}, and optimizer_type is {given!r}",
                    where=where,
                    fix=f"remove {switch} or optimizer_type",
                )
            )
        rest["optimizer_type"] = chosen
    return rest


def optimizer_options(arguments: object, where: str, optimizer_type: object) -> Values:
    """Translate optimizer_args: what we have an option for becomes that option.

    Args:
        arguments: list of "name=value".
        where: the file, for messages.
        optimizer_type: the optimizer that they are for; None: the default one.

    Returns:
        Option -> value. ``optimizer_args`` among them holds what we have no option for.

    Raises:
        ConfigError: all arguments at once that the optimizer does not take. They are not checked
            here for an optimizer that is named by a path, or whose package is missing.
    """
    known = OptimizerConfig.options()["optimizer_type"]
    kind = optimizer_kind(known.convert(optimizer_type or known.default, where))
    result: Values = {}
    rest = []
    for name, text in argument_pairs("optimizer_args", arguments, where):
        value = literal(text)
        options = kind.read_argument(name, tuple(value) if isinstance(value, list) else value)
        if options is not None:
            result |= options
        else:
            rest.append(f"{name}={text}")
    if rest:
        result["optimizer_args"] = rest
    if kind.name in optimizer_names():
        try:
            kind.check(result)
        except ConfigError as error:
            raise error.within(where) from error
        except EnvironmentFault:
            pass  # the door of the run tells it
    return result

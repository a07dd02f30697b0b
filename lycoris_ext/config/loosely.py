"""Read the values of other programs' configs, which are looser about types than ours."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lycoris_ext.options import Option, alternatives, holds_tables

UNSET = object()
"""What ``loosely`` returns for a value that means that the option is not set."""


def loosely(known: Option, value: object) -> object:
    """Return a value in the type of its option, if what is meant is plain.

    Texts are read as the numbers and bools that they say ("0.5", "True"), whole numbers may be
    written as 64.0, a list of equal values stands for that value, and names of choices may be
    written in any case. Empty texts and lists, and a 0 or false that the option does not allow,
    mean that it is not set.

    Args:
        known: the option.
        value: as a file of another program has it.

    Returns:
        The value; ``UNSET``; or the value as it is if it cannot be understood.
    """
    if holds_tables(known.hint):
        return value
    if isinstance(value, (list, tuple)) and not known.is_list and known.name != "resolution":
        if not value:
            return UNSET
        if any(item != value[0] for item in value):
            return value
        value = value[0]
    value = _typed(known, value)
    if value is None or value == "" or value == [] or value == ():
        return UNSET
    kinds = alternatives(known.hint)
    if value is False and bool not in kinds:
        return UNSET
    if isinstance(value, str) and "none" not in known.allowed() and value.lower() == "none":
        return UNSET
    is_zero = isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
    if is_zero and not known.allows_number(0):
        return UNSET
    return value


def _typed(known: Option, value: object) -> object:
    kinds = alternatives(known.hint)
    if isinstance(value, str):
        text = value.strip()
        for choice in known.allowed():
            if text.lower() == choice.lower():
                return choice
        if bool in kinds and text.lower() in ("true", "false", "0", "1"):
            return text.lower() in ("true", "1")
        if str not in kinds and not known.is_list:
            value = _number(text)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and bool in kinds and value in (0, 1):
        return bool(value)
    is_whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    if is_whole and int in kinds and float not in kinds:
        return int(value)  # type: ignore[call-overload]
    if isinstance(value, (int, float)) and str in kinds and int not in kinds:
        return str(value)
    return value


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def loose_table(table: Mapping[str, object], known: Mapping[str, Option]) -> dict[str, object]:
    """Do the same for a table of options; those that are not set or not known are left as told.

    Args:
        table: option -> value.
        known: the options that are known.

    Returns:
        Option -> value, without options that are not set; unknown ones are kept as they are.
    """
    found = {n: loosely(known[n], v) if n in known else v for n, v in table.items()}
    return {name: value for name, value in found.items() if value is not UNSET}

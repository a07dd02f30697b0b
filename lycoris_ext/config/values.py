"""Values from files and flags: of the right type, or an error with both types."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin, get_type_hints

from lycoris_ext.errors import ConfigError

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}

LISTS = {str: "a list of texts", float: "a list of numbers"}


def convert(name: str, value: object, hint: Any, where: str) -> object:
    """Check a value against an option's type.

    Nothing is guessed: the text "false" is not taken for true, nor 1.5 for 1.

    Args:
        name: of the option.
        value: as TOML or a flag gives it.
        hint: the option's type.
        where: file or command line, for the message.

    Raises:
        ConfigError: the value is of another type.
    """
    for kind in _alternatives(hint):
        if kind is types.NoneType and value is None:
            return None
        if get_origin(kind) is tuple:
            inner = get_args(kind)[0]
            items = value if isinstance(value, (list, tuple)) else [value]
            if is_dataclass(inner) and all(isinstance(item, (Mapping, inner)) for item in items):  # type: ignore[arg-type]
                return tuple(_from_table(name, item, inner, where) for item in items)
            if all(_is_of(item, inner) for item in items):
                return tuple(items)
        elif _is_of(value, kind):
            return value
    raise ConfigError(
        f"{name} is {value!r}, expected {describe_type(hint)}",
        where=where,
        fix=_fix(name, value, hint),
    )


def holds_tables(hint: Any) -> bool:
    """Whether an option is a list of tables, which no flag can spell."""
    return any(get_origin(kind) is tuple and is_dataclass(get_args(kind)[0])
               for kind in _alternatives(hint))  # fmt: skip


def _from_table(name: str, table: Any, kind: Any, where: str) -> object:
    """A dataclass from one table of an option."""
    if isinstance(table, kind):
        return table
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            near = get_close_matches(key, hints, n=1)
            raise ConfigError(
                f"{name} has no {key}",
                where=where,
                fix=f"did you mean {near[0]}?" if near else f"use {', '.join(hints)}",
            )
    if "match" in hints and "match" not in table:
        raise ConfigError(
            f"a table of {name} has no match", where=where, fix='write match = "..." into it'
        )
    values = {key: convert(f"{name}: {key}", value, hints[key], where)
              for key, value in table.items()}  # fmt: skip
    return kind(**values)


def _is_of(value: object, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def describe_type(hint: Any) -> str:
    """A type in words."""
    if holds_tables(hint):
        return "a list of tables"
    words = [
        LISTS[get_args(kind)[0]] if get_origin(kind) is tuple else NAMES[kind]
        for kind in _alternatives(hint)
        if kind is not types.NoneType
    ]
    return " or ".join(words)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fix(name: str, value: object, hint: Any) -> str:
    kinds = _alternatives(hint)
    if isinstance(value, str) and str not in kinds:
        return f"write it without quotes: {name} = {value.strip().lower() or '...'}"
    return f"change {name}"

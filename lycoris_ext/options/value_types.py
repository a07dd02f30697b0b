"""The types of options: check a value against a type, and describe a type in words."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.words import short

TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
}
_UNQUOTED = re.compile(r"\s*(?:true|false|[+-]?[0-9.]+(?:e[+-]?[0-9]+)?)\s*", re.IGNORECASE)
"""Texts that are a number or a truth value in quotes."""
LIST_NAMES = {str: "a list of texts", int: "a list of whole numbers", float: "a list of numbers"}


def convert(name: str, value: Any, hint: Any, where: str | None) -> Any:
    """Check a value against a type, and return it with lists as tuples and tables as sections.

    Args:
        name: of the option, for messages.
        value: from a TOML file, a flag or a caller.
        hint: the type.
        where: the file or "command line", for messages.

    Raises:
        ConfigError: the value has another type.
    """
    for kind in alternatives(hint):
        if kind is types.NoneType and value is None:
            return None
        if get_origin(kind) is tuple:
            inner = get_args(kind)[0]
            items = value if isinstance(value, (list, tuple)) else [value]
            if _is_section(inner) and all(isinstance(item, (Mapping, inner)) for item in items):
                return tuple(_from_table(name, item, inner, where) for item in items)
            if all(_is_of(item, inner) for item in items):
                return tuple(items)
        elif _is_of(value, kind):
            return value
    raise ConfigError(
        f"{name} is {written(value)}, expected {describe_type(hint)}",
        where=where,
        fix=_fix(name, value, hint),
    )


def written(value: Any) -> str:
    """Write a value for a message, in at most a line."""
    try:
        return short(repr(value))
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"


def is_list(hint: Any) -> bool:
    """Return True if a type is a list of values."""
    return any(get_origin(kind) is tuple for kind in alternatives(hint))


def holds_tables(hint: Any) -> bool:
    """Return True if a type is a list of tables, which cannot be written as a flag."""
    return any(
        get_origin(kind) is tuple and _is_section(get_args(kind)[0]) for kind in alternatives(hint)
    )


def describe_type(hint: Any) -> str:
    """Describe a type in words: "a whole number", "a list of texts"."""
    if holds_tables(hint):
        return "a list of tables"
    words = [
        LIST_NAMES[get_args(kind)[0]] if get_origin(kind) is tuple else TYPE_NAMES[kind]
        for kind in alternatives(hint)
        if kind is not types.NoneType
    ]
    return " or ".join(words)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union type; for any other type a tuple with the type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_section(kind: Any) -> bool:
    return hasattr(kind, "kind_options")


def _from_table(name: str, table: Any, kind: Any, where: str | None) -> Any:
    """Create a section of class ``kind`` from a table; a section is returned unchanged."""
    if isinstance(table, kind):
        return table
    try:
        return kind(**table)
    except LycorisExtError as error:
        raise error.within(f"{where}, {name}" if where else name) from error


def _is_of(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _fix(name: str, value: Any, hint: Any) -> str:
    if isinstance(value, str) and str not in alternatives(hint) and _UNQUOTED.fullmatch(value):
        return f"write it without quotes: {name} = {short(value.lower())}"
    return f"change {name}"

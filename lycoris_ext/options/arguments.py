"""The texts "name=value" in sd-scripts' network_args, optimizer_args and lr_scheduler_args.

They are read, and checked against the signature of the class that gets them.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from lycoris_ext.errors import ConfigError


def argument_pairs(name: str, value: object, where: str) -> list[tuple[str, str]]:
    """Split the texts "name=value" of an option.

    Args:
        name: of the option, for messages.
        value: a list of such texts, or one text that may hold several, with spaces between them.
        where: the file, for messages.

    Raises:
        ConfigError: a text has no "=".
    """
    if isinstance(value, str):
        value = value.replace('"', "").split() if value.count("=") > 1 else [value]
    items = value if isinstance(value, (list, tuple)) else [value]
    pairs = []
    for item in items:
        if item in ("", None, False):
            continue
        key, equals, text = str(item).partition("=")
        if not equals:
            raise ConfigError(
                f"{name} has {item!r}, expected name=value",
                where=where,
                fix=f'write {name} = ["name=value", ...]',
            )
        pairs.append((key.strip(" \"'"), text.strip(" \"'")))
    return pairs


def literal(text: str) -> object:
    """Return the number, bool or tuple that a text says; any other text as it is."""
    try:
        value: object = ast.literal_eval(text)
    # A TypeError is raised for {[]: 1}.
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(text.lower(), text)
    return value


def read_arguments(name: str, texts: object) -> dict[str, Any]:
    """Return argument -> value for the texts "name=value" of an option.

    Args:
        name: of the option, for messages.
        texts: a list of such texts.

    Raises:
        ConfigError: a text has no "=".
    """
    return {key: literal(text) for key, text in argument_pairs(name, texts, name)}


def signature_faults(
    name: str, given: Mapping[str, Any], called: Callable[..., Any], who: str
) -> Iterator[ConfigError]:
    """Yield an error for each argument that a class does not take, or takes with another type.

    The type is that of the argument's default. An argument without a default, or with None as its
    default, may be anything.

    Args:
        name: of the option, for messages.
        given: argument -> value.
        called: the class.
        who: its name, for messages.
    """
    takes = arguments_of(called)
    for argument, value in given.items():
        if argument not in takes:
            near = get_close_matches(argument, takes, n=1)
            listed = ", ".join(f"{each}={_as_text(takes[each])}" for each in takes) or "none"
            yield ConfigError(
                f"{name} has {argument}={_as_text(value)}, which {who} does not take",
                where=name,
                fix=(f"did you mean {near[0]}? " if near else "") + f"use {listed}",
            )
        elif not _fits(value, takes[argument]):
            usual = _as_text(takes[argument])
            yield ConfigError(
                f"{name} has {argument}={_as_text(value)}, expected {_words(takes[argument])}",
                where=name,
                fix=f"change it; {argument}={usual} is what {who} takes by itself",
            )


def arguments_of(called: Callable[..., Any]) -> dict[str, Any]:
    """Return argument -> default of a class of optimizers or schedulers, without its first two.

    These are what is trained and the rate for optimizers, and the optimizer for schedulers.
    """
    parameters = list(inspect.signature(called).parameters.values())[1:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p.default for p in parameters if p.kind in named and p.name != "lr"}


def _fits(value: Any, default: Any) -> bool:
    if default is None or default is inspect.Parameter.empty or value is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, (int, float)):
        return isinstance(value, (int, float))
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list)) and len(value) == len(default)
    return not isinstance(default, str) or isinstance(value, str)


def _words(default: Any) -> str:
    if isinstance(default, bool):
        return "True or False"
    if isinstance(default, tuple):
        return f"{len(default)} numbers with commas between them"
    return "a text" if isinstance(default, str) else "a number"


def _as_text(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "..."
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)

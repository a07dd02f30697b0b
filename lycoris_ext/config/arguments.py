"""The texts "name=value" in sd-scripts' network_args, optimizer_args and lr_scheduler_args."""

from __future__ import annotations

import ast

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

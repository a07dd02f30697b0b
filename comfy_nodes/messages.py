"""Errors in the words of the page: which widget of which node, instead of an option's name.

The package names options as config files have them (network_dim). Someone in front of a graph sees
widgets ("rank"), on nodes other than the one that fails. So ComfyUI gets each node as a subclass
that rewords what its function raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from lycoris_ext.config import all_options
from lycoris_ext.errors import LycorisExtError, together

from .wording import name_of

#: Option -> display name of the node that has its widget, or of each such node.
Places = Mapping[str, str]

#: Names of options that are no common words although they are one word.
_SHORT = ("algo", "include", "exclude")
_WORD = re.compile(
    rf"(?<![\w/\\.-])(?:[a-z]+[0-9]*(?:_[a-z0-9]+)+|{'|'.join(_SHORT)})(?![\w/\\-]|\.\w)"
)
#: What stands for a flag of the command line.
_FLAGS = {"--overwrite": '"if the file exists" set to overwrite'}


def places(nodes: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Return option -> display names of the nodes of today that have its widget, as a text.

    Args:
        nodes: id -> class.
        names: id -> display name.
    """
    found: dict[str, list[str]] = {}
    for name, node in nodes.items():
        if not getattr(node, "DEPRECATED", False):
            given = node.INPUT_TYPES()
            for key in {**given["required"], **given["optional"]}.keys() & all_options().keys():
                found.setdefault(key, []).append(names[name])
    return {key: " or ".join(on_nodes) for key, on_nodes in found.items()}


def worded(error: LycorisExtError, where: Places) -> LycorisExtError:
    """Return an error in which options are called as their widgets are.

    Lines at its end say on which node these widgets are, and what other programs' messages call
    them. Options without a widget keep their names.

    Args:
        where: option -> display name of the node that has its widget.
    """
    used: dict[str, None] = {}

    def widget(found: re.Match[str]) -> str:
        name = found[0]
        if name not in where:
            return name
        used[name] = None
        return f'"{name_of(name)}"'

    def say(text: str | None) -> str | None:
        for flag, words in _FLAGS.items():
            text = text and text.replace(flag, words)
        if text and text in where:  # any option may stand alone, such as "factor"
            used[text] = None
            return name_of(text)
        return text and _WORD.sub(widget, text)

    parts = [
        type(part)(say(part.what) or "", where=say(part.where), fix=say(part.fix))
        for part in error.parts
    ]
    if not used and list(map(str, parts)) == list(map(str, error.parts)):
        return error
    on_nodes: dict[str, list[str]] = {}
    for name in used:
        on_nodes.setdefault(where[name], []).append(f'"{name_of(name)}" ({name})')
    lines = [f"{', '.join(widgets)}: on the node {node}" for node, widgets in on_nodes.items()]
    told = type(error)("\n".join([str(together(parts)), *lines]))
    told.parts = tuple(parts)
    return told


def speaking(node: type[Any], find: Callable[[], Places]) -> type[Any]:
    """Return a node whose errors are in the words of the page.

    Args:
        node: one of our nodes; those of 0.1.0, whose widgets have the options' names, stay as they
            are.
        find: returns option -> display name of the node that has its widget.
    """
    if getattr(node, "DEPRECATED", False):
        return node
    function = getattr(node, node.FUNCTION)

    @wraps(function)
    def run(*self: Any, **values: Any) -> Any:
        try:
            return function(*self, **values)
        except LycorisExtError as error:
            raise worded(error, find()) from error

    return type(node.__name__, (node,), {node.FUNCTION: run, "__module__": node.__module__})

"""The widgets of all nodes in their order, which saved workflows depend on.

ComfyUI stores the values of widgets by position, and the links of outputs by number. A node may
therefore get new widgets and outputs behind the others, and none may move, vanish or change its
name. `widget_orders.json` holds what was published; `python -m tests.comfy_nodes.documents` adds to
it, and refuses to change what it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_suffix(".json")
_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN")

Orders = dict[str, dict[str, list[str]]]


def is_widget(kind: Any, settings: Mapping[str, Any]) -> bool:
    """Return True if an input is a widget and no link."""
    return isinstance(kind, list) or (kind in _TYPES and not settings.get("forceInput"))


def widgets_of(node: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the widgets of a node in order: name -> (type, settings)."""
    given = node.INPUT_TYPES()
    found = {**given["required"], **given["optional"]}
    return {name: each for name, each in found.items() if is_widget(*each)}


def orders(nodes: Mapping[str, Any]) -> Orders:
    """Return id -> widgets and outputs of each node, in order."""
    return {
        name: {"widgets": list(widgets_of(node)), "outputs": list(node.RETURN_NAMES)}
        for name, node in nodes.items()
    }


def moved(published: Orders, now: Orders) -> list[str]:
    """Return a line for each node whose saved values or links would be read wrongly."""
    faults = []
    for name, parts in published.items():
        for part, before in parts.items():
            after = now.get(name, {}).get(part, [])
            if after[: len(before)] != before:
                faults.append(f"{name}: the {part} {before} are now {after}")
    return faults


def published() -> Orders:
    """Return what saved workflows may hold."""
    found: Orders = json.loads(PATH.read_text("utf-8"))
    return found

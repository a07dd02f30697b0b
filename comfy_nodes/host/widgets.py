"""Node inputs made of the core's options: their names, defaults and descriptions are written once.

ComfyUI's widgets have no empty value, so an option that may be unset gets a value that stands for
it, and its tooltip says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lycoris_ext.config import OptionSource, all_options, build_config

#: Options by name, as a node hands them on.
Options = dict[str, Any]
_NOTHING = object()


@dataclass(frozen=True)
class Widget:
    """One input of a node.

    Args:
        name: of the input.
        kind: ComfyUI's type, or a list of choices.
        settings: ComfyUI's: default, min, max, tooltip and the like.
        unset: the value that leaves the option out.
    """

    name: str
    kind: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    unset: object = _NOTHING

    def as_input(self) -> tuple[Any, dict[str, Any]]:
        return self.kind, dict(self.settings)


def option(
    name: str,
    *,
    default: Any = None,
    choices: Sequence[str] = (),
    low: float = 0,
    high: float = 1_000_000,
    step: float | None = None,
    unset: Any = _NOTHING,
    says: str = "",
    multiline: bool = False,
) -> Widget:
    """An option of the core as a node's input.

    Args:
        name: of the option.
        default: where a node's differs from the core's.
        choices: what there is to choose from.
        low, high, step: of numbers.
        unset: the value that stands for "unset".
        says: what the tooltip says of it, after the option's own description.
        multiline: a text of several lines.
    """
    known = all_options()[name]
    value = known.default if default is None else default
    value = unset if value is None and unset is not _NOTHING else value
    tooltip = known.help[:1].upper() + known.help[1:] + (f" {says}" if says else "")
    settings: dict[str, Any] = {"default": value, "tooltip": tooltip}
    if choices:
        return Widget(name, list(choices), settings, unset)
    if isinstance(value, bool):
        return Widget(name, "BOOLEAN", settings, unset)
    if isinstance(value, str):
        return Widget(name, "STRING", settings | {"multiline": multiline}, unset)
    settings |= {"min": low, "max": high}
    if isinstance(value, int):
        # ComfyUI would change a number called "seed" after every run, and train again.
        settings |= {"step": int(step or 1), "control_after_generate": False}
        return Widget(name, "INT", settings, unset)
    step = 0.01 if step is None else step
    # ComfyUI rounds to the step unless it is told not to.
    return Widget(name, "FLOAT", settings | {"step": step, "round": False}, unset)


def inputs(
    required: Sequence[Widget], optional: Sequence[Widget] = (), hidden: Mapping[str, str] = {}
) -> dict[str, dict[str, Any]]:
    """What INPUT_TYPES returns."""
    return {
        "required": {widget.name: widget.as_input() for widget in required},
        "optional": {widget.name: widget.as_input() for widget in optional},
        "hidden": dict(hidden),
    }


def advanced(*widgets: Widget) -> tuple[Widget, ...]:
    """Inputs that the node shows when it is asked for all of them."""
    return tuple(replace(w, settings={**w.settings, "advanced": True}) for w in widgets)


def link(name: str, kind: str, tooltip: str) -> Widget:
    """An input that is connected."""
    return Widget(name, kind, {"tooltip": tooltip})


def read_options(widgets: Sequence[Widget], values: Mapping[str, Any]) -> Options:
    """The options that a node's inputs say, without what is unset."""
    return {
        widget.name: values[widget.name]
        for widget in widgets
        if widget.name in values and values[widget.name] != widget.unset
    }


def check(options: Options) -> Options:
    """Let the core see what a node was given, so that its error stands on that node."""
    build_config([OptionSource("this node", options)])
    return options


def lines(text: str) -> tuple[str, ...]:
    """The lines of a text that say something."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())

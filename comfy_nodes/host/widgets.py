"""Make node inputs from the options of lycoris_ext, with their names, defaults and help texts.

ComfyUI's widgets cannot be empty. An option that may be unset therefore gets a number just outside
of its limits (or an empty text) that stands for "unset", and its tooltip says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lycoris_ext.config import OptionSource, all_options, build_config
from lycoris_ext.options import Option, alternatives

from ..wording import SENTENCES, name_of, readable

#: Values of options by name, as nodes hand them to each other.
Options = dict[str, Any]
_NOTHING = object()
#: The largest number of a widget where the option has no limit; JavaScript is exact up to 2**53.
_HIGHEST, _EXACT = 10_000_000, 2**53


@dataclass(frozen=True)
class Widget:
    """One input of a node.

    Args:
        name: of the input.
        kind: ComfyUI's type, such as "INT", or a list of choices.
        settings: ComfyUI's settings of an input: default, min, max, tooltip and others.
        unset: the value that stands for "unset"; the option is then left out.
        read: converts ComfyUI's value of the input to the value of the option.
    """

    name: str
    kind: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    unset: object = _NOTHING
    read: Callable[[Any], Any] | None = None

    def as_input(self) -> tuple[Any, dict[str, Any]]:
        """Return the pair of type and settings that ComfyUI expects for an input."""
        shown = dict(self.settings)
        if "display_name" not in shown:
            shown |= named(self.name, shown["tooltip"])
        if shown.get("multiline"):  # the page shows no name beside such a field
            shown["placeholder"] = shown["display_name"]
        return self.kind, shown


def option(
    name: str, *, default: Any = None, unset: Any = None, sentence: str | None = None
) -> Widget:
    """Make a node input from an option.

    Args:
        name: of the option, such as "network_dim".
        default: the node's default, if it is to differ from the option's.
        unset: the value that stands for "unset"; None takes one just outside of the limits.
        sentence: the tooltip, if the option's own does not fit this node.
    """
    known = all_options()[name]
    tooltip = known.help
    value = known.default if default is None else default
    if known.default is not None:
        unset = _NOTHING
    else:
        unset = _just_outside(known) if unset is None else unset
        value = unset if value is None else value
        tooltip += f" {'Empty' if unset == '' else f'{unset:g}'}: {known.unset}."
    tooltip += known.readers
    is_list = known.is_list and float not in alternatives(known.hint)  # a number: one
    if is_list:
        tooltip += " One on each line."
    words = named(name, sentence or SENTENCES.get(name, tooltip))
    if is_list:
        texts = {"default": "\n".join(value), "multiline": True}
        return Widget(name, "STRING", texts | words, read=lines)
    kind, settings = _form(known, value, unset)
    return Widget(name, kind, {"default": value, **words, **settings}, unset)


def named(name: str, sentence: str) -> dict[str, str]:
    """Return what the page shows of an input: its name and its tooltip.

    The tooltip ends in the input's own name where the page shows another one, because messages,
    files and the API have that.
    """
    shown = name_of(name)
    own = "" if shown == name.replace("_", " ") else f" ({name})"
    return {"display_name": shown, "tooltip": readable(sentence, frozenset(all_options())) + own}


def _form(known: Option, value: Any, unset: Any) -> tuple[Any, dict[str, Any]]:
    """Return ComfyUI's type for an option with a single value, and the settings of the widget."""
    if known.allowed():
        return list(known.allowed()), {}
    if isinstance(value, bool):
        return "BOOLEAN", {}
    if isinstance(value, str):
        return "STRING", {"multiline": False}
    low, high = _limits(known)
    limits = {"min": low if unset is _NOTHING else min(low, unset), "max": high}
    if _takes_fractions(known):
        # ComfyUI rounds to the step unless it is told not to.
        return "FLOAT", {**limits, "default": float(value), "step": _step(known), "round": False}
    # ComfyUI would change a number called "seed" after every run, and train again.
    return "INT", {**limits, "step": _step(known), "control_after_generate": False}


def _takes_fractions(known: Option) -> bool:
    return float in alternatives(known.hint)


def _step(known: Option) -> float:
    if known.step or not _takes_fractions(known):
        return known.step or 1
    return known.default / 10 if known.default and 0 < known.default < 0.1 else 0.01


def _limits(known: Option) -> tuple[float, float]:
    """Return the smallest and the largest number that the widget of an option accepts."""
    inside = _step(known) / 100 if _takes_fractions(known) else 1
    low, high = known.low, known.high
    if low is None:
        low = -_HIGHEST if known.above is None else known.above + inside
    if high is None:
        high = _HIGHEST if known.below is None else known.below - inside
    return min((low, *known.also)), min(high, _EXACT)


def _just_outside(known: Option) -> Any:
    """Return a value that the option cannot have, to stand for "unset"."""
    if str in alternatives(known.hint):
        return ""
    if known.above is not None:
        return known.above
    return known.low - 1 if known.low else -1


def inputs(
    required: Sequence[Widget], optional: Sequence[Widget] = (), hidden: Mapping[str, str] = {}
) -> dict[str, dict[str, Any]]:
    """Return the dict that a node's INPUT_TYPES has to return."""
    return {
        "required": {widget.name: widget.as_input() for widget in required},
        "optional": {widget.name: widget.as_input() for widget in optional},
        "hidden": dict(hidden),
    }


def link(name: str, kind: str, tooltip: str) -> Widget:
    """Make an input that takes the output of another node."""
    return Widget(name, kind, {"tooltip": tooltip})


def chooser(name: str, choices: Sequence[str], tooltip: str, default: str | None = None) -> Widget:
    """Make an input that is a list to choose from; it begins with `default` if that is given."""
    listed = [*([] if default is None else [default]), *choices]
    settings = {"tooltip": tooltip} | ({} if default is None else {"default": default})
    return Widget(name, listed, settings)


def read_options(widgets: Sequence[Widget], values: Mapping[str, Any]) -> Options:
    """Return the options that the inputs of a node set; those that are unset are left out."""
    return {
        widget.name: widget.read(values[widget.name]) if widget.read else values[widget.name]
        for widget in widgets
        if widget.name in values and values[widget.name] != widget.unset
    }


def check(options: Options) -> Options:
    """Check options and return them, so that a wrong one is reported by the node that has it."""
    build_config([OptionSource("this node", options)])
    return options


def lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text that are not empty, without spaces at their ends."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())

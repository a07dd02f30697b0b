"""The settings that a grid varies from row to row; a new one is one entry of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from lycoris_ext.errors import ConfigError, together
from lycoris_ext.grids.plan import refuse_too_many
from lycoris_ext.grids.settings import Settings

Changes = Mapping[str, Any]
"""What a value of an axis sets: name of a field of `Settings`, or of an extra setting -> value."""


@dataclass(frozen=True)
class Axis:
    """A setting that can have several values in one grid, each in rows of its own.

    Args:
        name: name of its field in a request.
        title: its label in a form.
        about: what its values are, for people who write requests.
        read: turns the text of a value into what it sets; None refuses the text.
        usual: the value that a form shows at first; "" leaves the setting to the program.
        kind: JSON's type of a value: "integer", "number" or "string".
    """

    name: str
    title: str
    about: str
    read: Callable[[str], Changes | None]
    usual: str = ""
    kind: str = "string"

    def parse(self, text: str) -> Changes:
        """Return what a value sets.

        Raises:
            ConfigError: the text is no value of this axis.
        """
        changes = self.read(text.strip())
        if changes is None:
            raise ConfigError(
                f"{text.strip()!r:.60} is none of its values", where=self.name, fix=self.about
            )
        return changes


def extra(name: str) -> Callable[[str], Changes | None]:
    """Return a reader of an extra setting's values, which are texts."""
    return lambda text: {name: text} if text else None


def _number(name: str, kind: type[int] | type[float]) -> Callable[[str], Changes | None]:
    def read(text: str) -> Changes | None:
        try:
            return {name: kind(text)}
        except ValueError:
            return None

    return read


def _size(text: str) -> Changes | None:
    found = re.fullmatch(r"(\d{1,5})\s*[x×*]\s*(\d{1,5})", text, re.IGNORECASE)
    return {"width": int(found[1]), "height": int(found[2])} if found else None


AXES = (
    Axis("steps", "Steps", "number of denoising steps", _number("steps", int), "20", "integer"),
    Axis(
        "cfg_scale",
        "CFG scale",
        "scale of classifier-free guidance",
        _number("cfg_scale", float),
        "7",
        "number",
    ),
    Axis("sampler", "Sampler", "name of the sampler in the program", extra("sampler"), "Euler a"),
    Axis(
        "clip_skip",
        "Clip skip",
        "use the text encoder's layer N from the end",
        _number("clip_skip", int),
        "1",
        "integer",
    ),
    Axis("sizes", "Sizes", "size in pixels, such as 512x768, in place of width and height", _size),
)
"""The settings that every program has."""


def varied(usual: Settings, chosen: Sequence[tuple[Axis, Sequence[str]]]) -> tuple[Settings, ...]:
    """Return the settings for all combinations of the axes' values.

    Args:
        usual: the settings where no axis changes them.
        chosen: axes, each with its values; one without values changes nothing.

    Raises:
        ConfigError: a text is no value of its axis, or a number is out of range; the message
            lists all such values. Or there are more combinations than a grid may have pictures.
    """
    errors: list[ConfigError] = []
    values: list[list[Changes]] = []
    for axis, texts in chosen:
        read: list[Changes] = []
        for text in dict.fromkeys(texts):
            try:
                changes = axis.parse(text)
                usual.having(**changes)  # raises if a number is out of range
                read.append(changes)
            except ConfigError as error:
                errors.append(error)
        values.append(read or [{}])
    if errors:
        raise together(errors)
    refuse_too_many(prod(map(len, values)))
    combined = []
    for combination in product(*values):
        settings = usual
        for change in combination:
            settings = settings.having(**change)
        combined.append(settings)
    return tuple(dict.fromkeys(combined))

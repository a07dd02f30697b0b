"""Every option there is: its section, its type, its default and what it does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, get_type_hints

from lycoris_ext.options import Section
from lycoris_ext.training.config import TrainConfig


@dataclass(frozen=True)
class Option:
    """One option of a run.

    Args:
        name: as in a file; flags are spelled --name.
        section: the part of TrainConfig that obeys it.
        hint: its type.
        default: its value when nobody sets it.
        help: what it does, one paragraph.
    """

    name: str
    section: str
    hint: Any
    default: object
    help: str


def all_options() -> dict[str, Option]:
    """Name -> option, in the order of the sections."""
    options: dict[str, Option] = {}
    for section, section_type in section_types().items():
        for known in _options_of(section, section_type):
            if known.name in options:
                raise TypeError(f"two sections have an option {known.name}")
            options[known.name] = known
    return options


def _options_of(section: str, section_type: Any) -> Iterable[Option]:
    if not issubclass(section_type, Section):
        return _options_of_fields(section, section_type)
    return [
        Option(known.name, section, known.hint, known.default, known.help)
        for known in section_type.options().values()  # not cached: kinds may be registered later
    ]


@cache
def _options_of_fields(section: str, section_type: Any) -> Sequence[Option]:
    hints = get_type_hints(section_type)
    described = _described_arguments(section_type)
    return [
        Option(
            field.name,
            section,
            hints[field.name],
            field.default if field.default is not MISSING else None,
            described.get(field.name, ""),
        )
        for field in fields(section_type)
    ]


@cache
def section_types() -> dict[str, Any]:
    """Section name -> its dataclass."""
    return get_type_hints(TrainConfig)


def _described_arguments(section_type: type) -> dict[str, str]:
    """Read "name: text" (also "a, b: text") from the docstring of a dataclass."""
    described: dict[str, str] = {}
    names: list[str] = []
    for line in (inspect.getdoc(section_type) or "").splitlines():
        match = re.fullmatch(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if match:
            names = match[1].split(", ")
            described |= dict.fromkeys(names, match[2].strip())
        elif line.startswith(" " * 8) and names:
            for name in names:
                described[name] += " " + line.strip()
        else:
            names = []
    return described

"""The node that lists several adapter files, for Compare LoRAs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lycoris_ext.errors import DataError

from .host import adapter
from .host.places import adapter_file, adapter_files
from .host.widgets import Widget, chooser, inputs, lines, link

_NONE = "(none)"
_CHOSEN = tuple(f"file_{number}" for number in range(1, 7))
PATTERN = Widget(
    "pattern",
    "STRING",
    {
        "default": "",
        "multiline": True,
        "tooltip": "More files of the LoRA folders, by their names, one on each line; with * and ? "
        "a line stands for several: my_lora-step-*.",
    },
)
_BEFORE = link("before", adapter.SEVERAL, "Another list, whose files come before these.")


class LoraList:
    CATEGORY = "LyCORIS/loaders"
    DESCRIPTION = (
        "Lists files of the LoRA folders, each of which gets its columns in Compare LoRAs."
    )
    SEARCH_ALIASES = ("lora stack", "several loras")
    RETURN_TYPES = (adapter.SEVERAL,)
    RETURN_NAMES = ("files",)
    OUTPUT_TOOLTIPS = ("The files, for Compare LoRAs.",)
    FUNCTION = "collect"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        known = adapter_files()
        chosen = [
            chooser(name, known, "A file to compare; (none): no file.", _NONE) for name in _CHOSEN
        ]
        return inputs((*chosen, PATTERN), (_BEFORE,))

    @classmethod
    def IS_CHANGED(cls, pattern: str | None = None, **chosen: Any) -> str:
        """Return a text that changes when the files are others, or one of them is written."""
        return fingerprint([*_names(chosen), *found_files(pattern or "", must=False)])

    def collect(
        self, pattern: str, before: Sequence[Path] = (), **chosen: str
    ) -> tuple[tuple[Path, ...]]:
        names = dict.fromkeys((*_names(chosen), *found_files(pattern)))
        return (tuple(dict.fromkeys((*before, *map(adapter_file, names)))),)


def _names(chosen: dict[str, Any]) -> list[str]:
    return [chosen[name] for name in _CHOSEN if chosen.get(name, _NONE) not in (_NONE, None)]


def fingerprint(names: Sequence[str]) -> str:
    """Return names, sizes and times of adapter files; those that do not exist are left out."""
    states = ((name, adapter_file(name).stat()) for name in names if name in adapter_files())
    return ",".join(f"{name}:{state.st_size}:{state.st_mtime_ns}" for name, state in states)


def found_files(text: str, must: bool = True) -> list[str]:
    """Return the adapter files that match lines of names and patterns, each file once.

    Args:
        text: names or patterns such as "my_lora-step-*", one on each line.
        must: raise if a line matches no file.

    Raises:
        DataError: a line matches no file, and `must` is set.
    """
    known, found = adapter_files(), []
    for line in lines(text):
        plain = line.replace("\\", "/")
        names = [name for name in known if _fits(name.replace("\\", "/"), plain)]
        if must and not names:
            raise DataError(
                "no adapter file has this name",
                where=line,
                fix="write names as Load LoRA lists them, or a pattern such as my_lora-step-*",
            )
        found += sorted(names, key=_as_counted)
    return list(dict.fromkeys(found))


def _as_counted(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by size: step-500 before step-1000."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _fits(name: str, pattern: str) -> bool:
    texts = (pattern, f"{pattern}.safetensors")
    return name in texts or any(fnmatchcase(name, text) for text in texts)

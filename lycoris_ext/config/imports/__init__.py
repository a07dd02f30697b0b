"""Configs of other programs: one file for each format, which puts it in sd-scripts' words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports import (
    ai_toolkit,
    easy_scripts,
    hcp,
    kohya_gui,
    onetrainer,
    other_files,
    simple_tuner,
)
from lycoris_ext.config.imports.foreign import Format

FORMATS: tuple[Format, ...] = (
    kohya_gui.FORMAT,
    easy_scripts.FORMAT,
    onetrainer.FORMAT,
    ai_toolkit.FORMAT,
    simple_tuner.FORMAT,
    hcp.FORMAT,
)
"""The formats that are not sd-scripts' own; the first that recognises a document reads it."""


def format_of(document: Mapping[str, Any]) -> Format | None:
    """Return the format of a parsed config; None if it is sd-scripts', ours, or unknown."""
    formats = (*FORMATS, other_files.FORMAT)
    return next((known for known in formats if known.recognises(document)), None)

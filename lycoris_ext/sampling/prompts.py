"""Read prompts in sd-scripts' forms: lines with options such as --w 512, and files of prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.files import expanded, read_text_within
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.os_errors import why_no_text
from lycoris_ext.words import short

Fields = dict[str, Any]
"""The fields of a PromptSpec that a prompt sets, by name."""

MOST_PROMPTS = 10_000
"""Prompts that are drawn at a time."""
PROMPT_FILES = (".txt", ".toml", ".json")

LINE_OPTIONS: dict[str, tuple[str, type]] = {
    "n": ("negative_prompt", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("steps", int),
    "l": ("cfg_scale", float),
    "ss": ("sampler", str),
}
"""sd-scripts' option in a prompt line -> (field of PromptSpec, type)."""

FILE_OPTIONS: dict[str, tuple[str, type]] = {
    "prompt": ("prompt", str),
    "negative_prompt": ("negative_prompt", str),
    "width": ("width", int),
    "height": ("height", int),
    "seed": ("seed", int),
    "sample_steps": ("steps", int),
    "scale": ("cfg_scale", float),
    "sample_sampler": ("sampler", str),
}
"""sd-scripts' key in a TOML or JSON prompt file -> (field of PromptSpec, type)."""


def read_prompts(prompts: Sequence[str]) -> list[Fields]:
    """Read prompt lines, or the prompts in a file.

    Args:
        prompts: prompt lines; or the path of one file: .txt with one prompt per line (# begins a
            comment), or .toml or .json in sd-scripts' form.

    Returns:
        For each prompt the fields that it sets.

    Raises:
        DataError: the file is missing, not UTF-8, or not in the format of its extension.
        ConfigError: an option is unknown or its value has the wrong type.
    """
    if len(prompts) != 1 or not prompts[0].lower().endswith(PROMPT_FILES):
        return _parse_all([prompt for prompt in prompts if prompt.strip()], "prompts")
    path = expanded(prompts[0])
    try:
        text = read_text_within(path)
    except (OSError, UnicodeDecodeError) as error:
        why, fix = why_no_text(error)
        raise DataError(f"the prompts cannot be read ({why})", where=str(path), fix=fix) from error
    if path.suffix.lower() == ".txt":
        lines = (line.strip() for line in text.splitlines())
        return _parse_all([line for line in lines if line and line[0] != "#"], str(path))
    try:
        entries = _from_toml(text) if path.suffix.lower() == ".toml" else parse_json(text)
        if not isinstance(entries, list):
            raise ValueError("expected a list of prompts")
        return _parse_all(entries, str(path))
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"this is no file of prompts ({error})",
            where=str(path),
            fix="write a [prompt] table with [[prompt.subset]] tables in TOML, or a list in JSON",
        ) from error


def _parse_all(entries: Sequence[Any], where: str) -> list[Fields]:
    """Read prompts that are lines or tables.

    Args:
        entries: the prompts.
        where: the file's name, for messages.
    """
    if len(entries) > MOST_PROMPTS:
        raise ConfigError(
            f"the number of prompts is {len(entries):,}, and at most {MOST_PROMPTS:,} are drawn",
            where=where,
            fix="leave some out, or divide them among several files",
        )
    return [
        parse_prompt(entry) if isinstance(entry, str) else _parse_table(entry, where)
        for entry in entries
    ]


def parse_prompt(line: str) -> Fields:
    """Read a prompt line such as "a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7".

    Returns:
        The fields that the line sets: "prompt", and those of its options.

    Raises:
        ConfigError: an option is unknown or its value has the wrong type.
    """
    prompt, *options = re.split(r"\s--(?=[A-Za-z])", " " + line.strip())
    fields: Fields = {"prompt": prompt.strip()}
    for option in options:
        key, _, value = option.partition(" ")
        if key.lower() not in LINE_OPTIONS:
            raise ConfigError(
                f"option --{short(key, 40)} is not supported in a prompt",
                where=short(line),
                fix="use " + ", ".join(f"--{known}" for known in LINE_OPTIONS),
            )
        name, kind = LINE_OPTIONS[key.lower()]
        try:
            fields[name] = kind(value.strip())
        except ValueError as error:
            raise ConfigError(
                f"--{key} {value.strip()!r:.80} is no {kind.__name__}",
                where=short(line),
                fix=f"give --{key} a number",
            ) from error
    return fields


def _from_toml(text: str) -> list[Any]:
    """Return one table per [[prompt.subset]], completed with the options shared in [prompt]."""
    shared = read_tables(text).get("prompt", {})
    subsets = shared.pop("subset", [{}]) if isinstance(shared, dict) else None
    if not isinstance(subsets, list) or not all(isinstance(subset, dict) for subset in subsets):
        raise ValueError("[prompt] and [[prompt.subset]] must be tables")
    return [{**shared, **subset} for subset in subsets]


def _parse_table(entry: Any, where: str) -> Fields:
    fields: Fields = {}
    for key, value in entry.items():
        if key not in FILE_OPTIONS:
            raise ConfigError(
                f"{short(key, 40)} is not supported in a prompt",
                where=where,
                fix="use " + ", ".join(FILE_OPTIONS),
            )
        name, kind = FILE_OPTIONS[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ConfigError(
                f"{key} is {value!r:.80}, expected {kind.__name__}",
                where=where,
                fix=f"change {key}",
            )
        fields[name] = value
    if "prompt" not in fields:
        raise ConfigError("a prompt has no text", where=where, fix='add prompt = "..."')
    return fields

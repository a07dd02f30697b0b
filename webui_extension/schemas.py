"""The routes' JSON, described: what a request must hold, said in the host's OpenAPI page.

Written as JSON schemas and checked by hand: AUTOMATIC1111 has pydantic 1, Forge has 2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lycoris_ext.errors import ConfigError

Schema = dict[str, Any]

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
}


def _field(kind: str, about: str, default: Any = None, of: str = "") -> Schema:
    schema: Schema = {"type": kind, "description": about}
    if default is not None:
        schema["default"] = default
    if of:
        schema["items"] = {"type": of}
    return schema


def _object(required: list[str], **fields: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": fields}


FOLDER = _object(["folder"], folder=_field("string", "a run's folder, or one adapter"))
FILES = _object(["files"], files=_field("array", "adapters", of="string"))
GRID = _object(
    ["files"],
    files=_field("array", "adapters; [] draws the base alone", of="string"),
    prompts=_field("array", "prompts; a line may end in --n NEGATIVE", [], "string"),
    tests=_field("array", "names of prompt tests", [], "string"),
    trigger=_field("string", "words that call what was trained, for the tests", ""),
    style=_field("string", "tag of the usual style, for the tests", "aniscreen"),
    strengths=_field("array", '"0.8", or "0.5:1" for text encoder:U-Net', ["1"], "string"),
    seeds=_field("array", "of the noise", [1], "integer"),
    base_models=_field("array", "titles of base models; [] is the loaded one", [], "string"),
    negative_prompts=_field("array", "each a row of its own", [""], "string"),
    sampler=_field("string", "as the host calls it", "Euler a"),
    steps=_field("integer", "of denoising", 20),
    cfg_scale=_field("number", "guidance", 7.0),
    width=_field("integer", "in pixels", 512),
    height=_field("integer", "in pixels", 512),
    clip_skip=_field("integer", "layer of the text encoder, from the end", 1),
)
VOTE = _object(
    ["grid", "row", "column"],
    grid=_field("string", "id of a grid"),
    row=_field("integer", "of the cell, from 0"),
    column=_field("integer", "of the cell; 0 is without adapter, -1 takes back"),
)
INSTALL = _object(
    ["file", "name"],
    file=_field("string", "an adapter"),
    name=_field("string", "of the new file, without ending"),
    preview=_field("string", "a picture inside the allowed folders", ""),
    description=_field("string", "for its card", ""),
    strength=_field("number", "preferred", 1.0),
)
TRAINING = _object(["config"], config=_field("string", "a run's .toml"))


def checked(content: Any, schema: Schema) -> dict[str, Any]:
    """A request's content with its defaults, exactly as its schema has it.

    Raises:
        ConfigError: a field is missing, unknown, or of another type.
    """
    if not isinstance(content, Mapping):
        raise ConfigError("is no JSON object", where="request", fix="send an object")
    fields = schema["properties"]
    for name in content:
        if name not in fields:
            raise ConfigError("is not known", where=str(name)[:60], fix=f"use: {', '.join(fields)}")
    for name in schema["required"]:
        if name not in content:
            raise ConfigError("is missing", where=name, fix=fields[name]["description"])
    values = {}
    for name, field in fields.items():
        value = content.get(name, field.get("default", ""))
        _check(name, value, field)
        values[name] = value
    return values


def _check(name: str, value: Any, field: Schema) -> None:
    kind = field["type"]
    right = isinstance(value, _KINDS[kind]) and not isinstance(value, bool)
    # Python's JSON knows NaN and Infinity, and whole numbers that no float holds.
    if not right or (kind == "number" and not abs(value) <= sys.float_info.max):
        raise ConfigError(
            f"is {value!r:.60}, expected {kind}", where=name, fix=field["description"]
        )
    if isinstance(value, list):
        for item in value:
            _check(name, item, {**field["items"], "description": field["description"]})

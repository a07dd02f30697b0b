"""JSON schemas of the API's requests; the host's OpenAPI page (/docs) shows them.

They are checked by `checked` instead of pydantic, because AUTOMATIC1111 has pydantic 1 and Forge 2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.axes import Axis
from webui_extension.host_axes import ALL_AXES

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


def _axis(axis: Axis) -> Schema:
    """Return the field of a setting: one value, or a list of values that each add rows."""
    usual = {"integer": int, "number": float, "string": str}[axis.kind]
    return {
        "type": [axis.kind, "array"],
        "description": f"{axis.about}; each value of a list adds rows",
        "default": usual(axis.usual) if axis.usual else [],
        "items": {"type": axis.kind},
    }


def _object(required: list[str], **fields: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": fields}


FOLDER = _object(["folder"], folder=_field("string", "path of a run's folder or of one adapter"))
FILES = _object(["files"], files=_field("array", "paths of adapters", of="string"))
GRID = _object(
    ["files"],
    files=_field(
        "array", "paths of adapters; [] draws only the column without adapter", of="string"
    ),
    prompts=_field(
        "array",
        "prompts; each may hold tags such as <lora:NAME:0.8>, and end in --n NEGATIVE PROMPT",
        [],
        "string",
    ),
    tests=_field("array", "names of built-in prompt tests", [], "string"),
    trigger=_field(
        "string", "trigger words for the prompt tests; empty: those in the adapter's metadata", ""
    ),
    style=_field("string", "tag of the training pictures' style, for the tests", "aniscreen"),
    strengths=_field(
        "array", 'adapter strengths: "0.8", or "0.5:1" for text encoder:U-Net', ["1"], "string"
    ),
    seeds=_field(
        "array", "seeds of the noise, -1 is random; every prompt is drawn with each", [1], "integer"
    ),
    base_models=_field("array", "titles of base models; [] uses the loaded one", [], "string"),
    negative_prompts=_field(
        "array", "negative prompts; every prompt is drawn with each, in a row", [""], "string"
    ),
    styles=_field(
        "array",
        'names of the host\'s styles; every prompt is drawn with each, "" is none',
        [],
        "string",
    ),
    width=_field("integer", "width of a picture in pixels", 512),
    height=_field("integer", "height of a picture in pixels", 512),
    **{name: _axis(axis) for name, axis in ALL_AXES.items()},
)
VOTE = _object(
    ["grid", "row", "column"],
    grid=_field("string", "id of the grid"),
    row=_field("integer", "row of the best picture, counted from 0"),
    column=_field(
        "integer",
        "column of the best picture; 0 is the one without adapter, -1 removes the row's vote",
    ),
)
INSTALL = _object(
    ["file", "name"],
    file=_field("string", "path of the adapter"),
    name=_field("string", "name of the new file, without extension"),
    preview=_field("string", "path of a preview picture inside the allowed folders", ""),
    description=_field("string", "description on the adapter's card in the host", ""),
    strength=_field("number", "strength that the host prefers for this adapter", 1.0),
)
TRAINING = _object(["config"], config=_field("string", "path of a run's config (.toml)"))


def checked(content: Any, schema: Schema) -> dict[str, Any]:
    """Check the JSON of a request against its schema and fill in the defaults.

    Raises:
        ConfigError: a field is missing, unknown, or of the wrong type.
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
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    known = tuple(known for kind in kinds for known in _KINDS[kind])
    right = isinstance(value, known) and not isinstance(value, bool)
    # Python's JSON reader accepts NaN, Infinity and integers too large for a float.
    number = "number" in kinds and isinstance(value, (int, float))
    if not right or (number and not abs(value) <= sys.float_info.max):
        raise ConfigError(
            f"is {value!r:.60}, expected {' or '.join(kinds)}",
            where=name,
            fix=field["description"],
        )
    if isinstance(value, list):
        for item in value:
            _check(name, item, {**field["items"], "description": field["description"]})

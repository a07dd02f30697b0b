"""The fields of page 2 as a request, and a request back in the fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.grids.axes import AXES
from lycoris_ext.grids.plan import parse_seeds
from webui_extension.host_axes import ALL_AXES
from webui_extension.laboratory import Laboratory
from webui_extension.parts import label, number
from webui_extension.tab_pick import chosen_of

#: The settings that are written as a list of numbers; the others are chosen from lists.
WRITTEN = ("steps", "cfg_scale", "clip_skip", "sizes", "hires_fix")
#: The names of the page's fields, in the order of its components.
FIELDS = (
    "folder",
    "chosen",
    "trigger",
    "prompts",
    "tests",
    "negative_prompts",
    "style",
    "strengths",
    "seeds",
    "base_models",
    *(axis.name for axis in AXES if axis.name != "sizes"),
    "width",
    "height",
    *(name for name in ALL_AXES if name not in {axis.name for axis in AXES} or name == "sizes"),
    "styles",
)


def request_of(laboratory: Laboratory, values: Sequence[Any]) -> dict[str, Any]:
    """Turn the values of the page's fields, in the order of FIELDS, into a `schemas.GRID` request.

    Raises:
        ConfigError: a field is empty or holds no number.
        DataError: the run's folder is gone, or outside the allowed folders.
    """
    given = dict(zip(FIELDS, values, strict=True))
    chosen = chosen_of(laboratory, given["folder"], given["chosen"] or [])
    negatives = [line.strip() for line in given["negative_prompts"].splitlines() if line.strip()]
    return {
        "files": [str(known.path) for known in chosen],
        "prompts": given["prompts"].splitlines(),
        "tests": given["tests"] or [],
        "trigger": given["trigger"],
        "style": given["style"],
        "strengths": given["strengths"].replace(",", " ").split() or ["1"],
        "seeds": list(parse_seeds(given["seeds"], random=True)),
        "base_models": given["base_models"] or [],
        "negative_prompts": negatives or [""],
        "width": int(number("Width", given["width"])),
        "height": int(number("Height", given["height"])),
        "styles": ["" if name == _NO_STYLE else name for name in given["styles"] or []],
        **{name: _texts(name, given[name]) for name in ALL_AXES},
    }


#: The choice "without" among the host's styles.
_NO_STYLE = "(none)"


def styles_of(laboratory: Laboratory) -> list[str]:
    """Return the choices of the field of styles."""
    return [_NO_STYLE, *laboratory.host.styles()]


def _texts(name: str, value: Any) -> list[str]:
    given = str(value or "").split(",") if name in WRITTEN else value or []
    texts = [str(text).strip() for text in given if str(text).strip()]
    if ALL_AXES[name].usual and not texts:
        raise ConfigError(
            "the field is empty", where=ALL_AXES[name].title, fix=f"write {ALL_AXES[name].usual}"
        )
    return texts


def values_of(laboratory: Laboratory, request: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a request into values of the page's fields; a field that it does not set is left out.

    "chosen" holds the labels of the adapters that are still in their folder, and "choices" all
    labels of that folder.
    """
    values = {name: request[name] for name in ("tests", "trigger", "style") if name in request}
    lines = {"prompts": "\n", "negative_prompts": "\n", "strengths": ", ", "seeds": ", "}
    for name, separator in lines.items():
        if name in request:
            values[name] = separator.join(str(each) for each in request[name])
    for name in ("width", "height", "base_models"):
        if name in request:
            values[name] = request[name]
    if "styles" in request:
        values["styles"] = [name or _NO_STYLE for name in request["styles"]]
    for name in ALL_AXES:
        if name in request:
            given = request[name] if isinstance(request[name], list) else [request[name]]
            texts = [f"{each:g}" if isinstance(each, float) else str(each) for each in given]
            values[name] = ", ".join(texts) if name in WRITTEN else texts
    files = [Path(file) for file in request.get("files", [])]
    return values | (_chosen(laboratory, files) if files else {"chosen": []})


def folder_choices(laboratory: Laboratory, folder: str) -> list[str]:
    """Return the labels of all adapters in a folder.

    Raises:
        DataError: the folder is gone, or outside the allowed folders.
    """
    return [label(known) for known in laboratory.pick(folder).checkpoints] if folder else []


def _chosen(laboratory: Laboratory, files: Sequence[Path]) -> dict[str, Any]:
    folder = files[0].parent
    try:
        known = laboratory.pick(str(folder)).checkpoints
    except LycorisExtError:
        return {}  # the folder is gone
    return {
        "folder": str(folder),
        "choices": [label(each) for each in known],
        "chosen": [label(each) for each in known if each.path in files],
    }

"""Reading the config of a part of a base model, and building the part from it without weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris_ext.errors import DataError
from lycoris_ext.formats import json_text
from lycoris_ext.models.faults import library_errors, unreadable

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"\.(query|key|value|proj_attn)\.(?=weight$|bias$)")


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        content = json_text.read_json(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(content, dict):
        raise DataError(
            f"holds a {type(content).__name__}, and an object is expected",
            where=str(path),
            fix="restore it from the model's source",
        )
    return content


def build_part(kind: Any, folder: Path) -> Any:
    """Build a U-Net or an autoencoder from its config; no weights are read.

    diffusers is handed the content and not the file: it takes a file that holds a text in place of
    an object for the name of a model, and asks huggingface.co for that.

    Args:
        kind: the class in diffusers.
        folder: holds config.json.

    Raises:
        DataError: there is no such config, or it describes no such part.
    """
    path = folder / "config.json"
    config = read_json(path)
    with library_errors(path):
        return kind.from_config(config)


def with_present_names(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the attention of an autoencoder that an old version of diffusers has saved."""
    return {
        _OLD_NAME.sub(lambda found: f".{_OLD_ATTENTION[found[1]]}.", key): tensor
        for key, tensor in stored.items()
    }

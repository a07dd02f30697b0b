"""What a config of another program says, in sd-scripts' words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class Foreign:
    """The content of a config of another program.

    Attributes:
        program: whose config it is, as messages name it: "OneTrainer".
        values: option -> value under sd-scripts' names, with network_args, optimizer_args and the
            tables of a dataset_config as sd-scripts' files have them. They are translated and
            checked afterwards like those of sd-scripts' own files.
        unsupported: an error for each setting that decides the result and has no counterpart here;
            its ``fix`` is the nearest thing that works. Settings that change nothing here are
            neither in this nor in ``values``.
    """

    program: str
    values: Mapping[str, object]
    unsupported: tuple[ConfigError, ...] = ()


@dataclass(frozen=True)
class Format:
    """One format of configs.

    Attributes:
        program: whose format it is, as messages name it.
        recognises: returns True if a parsed JSON, YAML or TOML document is of this format.
        read: puts such a document in sd-scripts' words; it is given the document and the file's
            name, for messages.
    """

    program: str
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], str], Foreign]

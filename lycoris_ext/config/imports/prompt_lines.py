"""Writing what other programs draw during training as sd-scripts' prompt lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def prompt_line(prompt: object, fields: Mapping[str, Any]) -> str:
    """Return a line of ``sample_prompts``, such as "a cat --w 512 --h 768 --d 1".

    Args:
        prompt: the text.
        fields: letter of sd-scripts' option -> value; None and "" are left out.
    """
    options = "".join(
        f" --{name} {' '.join(str(value).split())}"
        for name, value in fields.items()
        if value not in (None, "", False)
    )
    return " ".join(str(prompt).split()) + options

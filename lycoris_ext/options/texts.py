"""Texts that no system can have as a path, and that no tokenizer reads."""

from __future__ import annotations

from lycoris_ext.files import expanded
from lycoris_ext.os_errors import reason


def fault_of_text(text: str) -> str:
    """Return what is wrong with a text, as the end of a sentence; "" if nothing is."""
    if "\0" in text:
        return "holds a zero byte"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # Python keeps bytes that the system's encoding does not know as halves of characters.
        return "holds what is no text in UTF-8 (or the system is set to ASCII: set PYTHONUTF8=1)"
    return ""


def fault_of_path(path: str) -> str:
    """Return what is wrong with a path, as the end of a sentence; "" if nothing is."""
    try:
        expanded(path)
    except OSError as error:
        return f"begins with ~, and {reason(error)}"
    return ""

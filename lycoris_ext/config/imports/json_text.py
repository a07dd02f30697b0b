"""Parse JSON, also with commas before its closing brackets, which people leave there."""

from __future__ import annotations

import json
import re

#: A JSON string, which is left as it is, or a comma before a closing bracket.
_STRING_OR_LAST_COMMA = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*"?)|,(?=\s*[}\]])')


def read_json(text: str) -> object:
    """Parse a JSON text.

    Raises:
        ValueError: the text is no JSON.
    """
    try:
        return json.loads(_STRING_OR_LAST_COMMA.sub(lambda found: found[1] or "", text))
    except RecursionError as error:
        raise ValueError("its tables and lists are nested too deeply") from error

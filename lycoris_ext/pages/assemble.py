"""Put an HTML page together: one file with its style, its script and its data inside.

Names, tags and prompts may come from hostile files, so a page holds them as JSON without "<", and
its script shows them as text. Its content security policy allows only this style and this script,
by their hashes, and loads nothing but pictures beside the page or inside it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

_SHARED = "lycoris_ext.pages"


def assemble(
    package: str,
    page: str,
    title: str,
    content: dict[str, Any],
    *,
    scripts: Sequence[str],
    asks_host: bool = False,
) -> str:
    """Return the text of a page.

    Args:
        package: whose folder "parts" holds the page's own parts.
        page: its HTML is PAGE.html in there, and its style PAGE.css. In the HTML, @title@,
            @policy@, @style@, @data@ and @script@ are filled in.
        title: of the window.
        content: what the script finds in ``data``.
        scripts: names of the page's scripts, in their order; common.js comes before them.
        asks_host: whether the script may ask the host that serves the page.
    """
    style = _read(_SHARED, "common.css") + _read(package, f"{page}.css")
    script = _read(_SHARED, "common.js") + "".join(_read(package, f"{one}.js") for one in scripts)
    policy = [
        "default-src 'none'",
        "img-src 'self' file: data:",
        f"style-src {_hash(style)}",
        f"script-src {_hash(script)}",
        f"connect-src '{'self' if asks_host else 'none'}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    values = {
        "policy": "; ".join(policy),
        "title": html.escape(title),
        "style": style,
        "data": as_json(content),
        "script": script,
    }
    filled = []
    # Fill in one pass, since a value may itself hold "@data@".
    for index, piece in enumerate(_read(package, f"{page}.html").split("@")):
        filled.append(values[piece] if index % 2 else piece)
    return "".join(filled)


def as_json(content: dict[str, Any]) -> str:
    """Return JSON that may stand inside of a script's tag."""
    # In JSON "<" occurs only inside strings, where \u003c means the same and cannot end a script.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _read(package: str, name: str) -> str:
    return (files(package) / "parts" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source of a policy that allows this text of a style or script."""
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"

"""The line that installs what training needs, as this package itself was installed."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from lycoris_ext.words import command

EXTRA = "train"


def install_line() -> str:
    """Return the pip command that adds the extra [train] to this installation."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():  # a clone
        return command("pip", "install", "-e", f"{root}[{EXTRA}]")
    with suppress(PackageNotFoundError, ValueError, KeyError):
        origin = json.loads(distribution("lycoris-ext").read_text("direct_url.json") or "{}")
        if "dir_info" in origin:
            folder = Path(url2pathname(urlparse(origin["url"]).path))
            return command("pip", "install", f"{folder}[{EXTRA}]")
    return f'pip install "lycoris-ext[{EXTRA}]"'

"""`lycoris-ext install HOST PATH`: what plugs into a host, into one that is already there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from lycoris_ext.hosts.comfyui import install_comfyui
from lycoris_ext.hosts.webui import install_webui

#: Host -> what is installed, and how; the lines that come back are printed.
HOSTS: dict[str, tuple[str, Callable[[argparse.Namespace], list[str]]]] = {
    "comfyui": ("the nodes", lambda given: install_comfyui(given.path, link=not given.copy)),
    "webui": ("the tab", lambda given: install_webui(given.path)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Install into a host; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="lycoris-ext install",
        description="Plug into a host that is already there; run it again to update.",
        epilog="; ".join(f"{host}: {what}" for host, (what, _) in HOSTS.items()),
    )
    parser.add_argument("host", choices=sorted(HOSTS))
    parser.add_argument("path", type=lambda text: Path(text).expanduser(), help="the host's folder")
    parser.add_argument(
        "--copy",
        action="store_true",
        help="comfyui: copy everything; without, the nodes stay where they lie and are linked",
    )
    given = parser.parse_args(arguments)
    if given.copy and given.host != "comfyui":
        parser.error(f"--copy is for comfyui alone, not for {given.host}")
    _, install = HOSTS[given.host]
    print("\n".join(install(given)))
    return 0

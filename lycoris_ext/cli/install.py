"""`lycoris-ext install HOST PATH`: install the nodes into ComfyUI, or the tab into a webui."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from lycoris_ext.hosts.comfyui import install_comfyui
from lycoris_ext.hosts.webui import install_webui

#: Host -> (what is installed, function that installs it and returns the lines to print).
HOSTS: dict[str, tuple[str, Callable[[argparse.Namespace], list[str]]]] = {
    "comfyui": (
        "the nodes into ComfyUI",
        lambda given: install_comfyui(given.path, link=not given.copy),
    ),
    "webui": ("the tab into AUTOMATIC1111 or Forge", lambda given: install_webui(given.path)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Install into a host and print what was done; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="lycoris-ext install",
        description="Install into ComfyUI, AUTOMATIC1111 or Forge. Run it again to update.",
        epilog="; ".join(f"{host}: installs {what}" for host, (what, _) in HOSTS.items()),
    )
    parser.add_argument("host", choices=sorted(HOSTS))
    parser.add_argument(
        "path",
        type=lambda text: Path(text).expanduser(),
        help="the folder of ComfyUI, AUTOMATIC1111 or Forge",
    )
    parser.add_argument(
        "--copy",
        action="store_true",
        help="for comfyui: copy the nodes instead of letting ComfyUI load them from this package",
    )
    given = parser.parse_args(arguments)
    if given.copy and given.host != "comfyui":
        parser.error(f"--copy works only with comfyui, not with {given.host}")
    _, install = HOSTS[given.host]
    print("\n".join(install(given)))
    return 0

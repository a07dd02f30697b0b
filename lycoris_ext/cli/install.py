"""`lycoris-ext install HOST PATH`: install the nodes into ComfyUI, or the tab into a webui."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from lycoris_ext.cli.arguments.install import parser
from lycoris_ext.hosts.comfyui import install_comfyui
from lycoris_ext.hosts.webui import install_webui

#: Host -> function that installs into it and returns the lines to print.
HOSTS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "comfyui": lambda given: install_comfyui(given.path, link=not given.copy),
    "webui": lambda given: install_webui(given.path),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Install into a host and print what was done; return the exit code."""
    given = parser().parse_args(arguments)
    if given.copy and given.host != "comfyui":
        parser().error(f"--copy works only with comfyui, not with {given.host}")
    print("\n".join(HOSTS[given.host](given)))
    return 0

"""The arguments of `lycoris-ext install`."""

from __future__ import annotations

import argparse

from lycoris_ext.files import expanded

#: Host -> what is installed.
HOSTS = {
    "comfyui": "the nodes into ComfyUI",
    "webui": "the tab into AUTOMATIC1111 or Forge",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext install",
        description="Install into ComfyUI, AUTOMATIC1111 or Forge. Run it again to update.",
        epilog="; ".join(f"{host}: installs {what}" for host, what in HOSTS.items()),
    )
    made.add_argument("host", choices=sorted(HOSTS))
    made.add_argument(
        "path",
        type=expanded,
        help="the folder of ComfyUI, AUTOMATIC1111 or Forge",
    )
    made.add_argument(
        "--copy",
        action="store_true",
        help="for comfyui: copy the nodes instead of letting ComfyUI load them from this package",
    )
    return made

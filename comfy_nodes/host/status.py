"""Text on a node, and pictures beside its progress bar."""

from __future__ import annotations

import logging
from typing import Any

from PIL import Image


def show(text: str, node_id: str | None) -> None:
    """Write a text on a node; in the log where this ComfyUI has no place on nodes."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    send = getattr(server, "send_progress_text", None)
    if node_id is None or send is None:
        logging.info("LyCORIS: %s", text)
    else:
        send(text, node_id)


class Bar:
    """A node's progress bar.

    Args:
        total: steps.
    """

    def __init__(self, total: int) -> None:
        from comfy.utils import ProgressBar

        self._bar: Any = ProgressBar(total)
        self.total = total

    def at(self, done: int, picture: Image.Image | None = None) -> None:
        """Move it; Cancel raises ComfyUI's exception here.

        Args:
            done: steps.
            picture: shown on the node.
        """
        preview = None if picture is None else ("JPEG", picture, max(picture.size))
        self._bar.update_absolute(done, self.total, preview)

"""Show text, progress and pictures on a node while it runs."""

from __future__ import annotations

import logging
from typing import Any

from PIL import Image


def show(text: str, node_id: str | None) -> None:
    """Show a text on a node; write it to the log if this ComfyUI cannot show text on nodes."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    send = getattr(server, "send_progress_text", None)
    if node_id is None or send is None:
        logging.info("LyCORIS: %s", text)
    else:
        send(text, node_id)


class Bar:
    """The progress bar of the node that runs.

    Args:
        total: number of steps at which it is full.
    """

    def __init__(self, total: int) -> None:
        from comfy.utils import ProgressBar

        self._bar: Any = ProgressBar(total)
        self.total = total

    def at(self, done: int, picture: Image.Image | None = None) -> None:
        """Set the bar; raises ComfyUI's exception if the user pressed Cancel.

        Args:
            done: number of finished steps.
            picture: is shown on the node, if given.
        """
        preview = None if picture is None else ("JPEG", picture, max(picture.size))
        self._bar.update_absolute(done, self.total, preview)

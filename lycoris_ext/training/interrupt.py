"""Ctrl-C: finish the step, save, and say how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Whether someone asked the run to stop at the next step boundary."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C (and SIGTERM, where there is one) into a request; a second one stops.

    Outside the main thread, as in a host with a user interface, signals are the host's: nothing is
    listened for.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            previous[number] = signal.signal(number, on_signal)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

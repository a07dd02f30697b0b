"""Turn Ctrl-C and a closed terminal into a request to stop after the current step, and save."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """A request to stop after the current step; ``asked`` is True once the user has made it."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM or the end of the terminal inside a ``with`` into a request.

    SIGUSR1 counts, too: clusters send it when the time of a job is nearly over. SIGQUIT (Ctrl-\\)
    ends the process at once, as everywhere.

    A second one raises at once. Under ``nohup`` the end of the terminal is ignored, as asked.
    Outside the main thread, as in a program with a user interface, signals are not touched.

    Yields:
        The request; its ``asked`` becomes True at the first signal.

    Raises:
        KeyboardInterrupt: at the second signal.
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

    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP", "SIGUSR1"):
        number = getattr(signal, name, None)  # each system lacks some
        under_nohup = name == "SIGHUP" and number and signal.getsignal(number) is signal.SIG_IGN
        if number is not None and not under_nohup:
            previous[number] = signal.signal(number, on_signal)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

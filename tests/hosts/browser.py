"""A headless Chromium, driven over its DevTools protocol: as much of it as one page needs."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from lycoris_ext.errors import EnvironmentFault

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str:
    """CHROMIUM in the environment, or a program of that name.

    Raises:
        EnvironmentFault: there is none.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise EnvironmentFault(
            "no Chromium is found", where="CHROMIUM", fix="install chromium, or name it there"
        )
    return found


class Page:
    """A page in a browser of its own.

    Args:
        url: what it opens.
        size: of the window, in pixels.
    """

    def __init__(self, url: str, size: tuple[int, int] = (1600, 1000)) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [
            find_chromium(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={self._profile.name}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = self._port()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            target = next(t for t in json.loads(answer.read()) if t["type"] == "page")
        path = re.sub(r"^ws://[^/]+", "", target["webSocketDebuggerUrl"])
        self._socket = _connect(port, path)
        self._number = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime"):
            self.call(f"{domain}.enable")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Page.navigate", url=url)

    def _port(self, limit: float = 60) -> int:
        file = Path(self._profile.name) / "DevToolsActivePort"
        started = time.monotonic()
        while time.monotonic() - started < limit:
            if file.is_file() and file.read_text().strip():
                return int(file.read_text().split()[0])
            time.sleep(0.1)
        raise AssertionError("Chromium did not start")

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call of the protocol; what happens meanwhile is only looked at for errors."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        _send(self._socket, json.dumps(message).encode())
        while True:
            answer = json.loads(_receive(self._socket))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"])[:400])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, limit: float = 120) -> Any:
        """Wait until an expression is true; returns its value."""
        started = time.monotonic()
        while time.monotonic() - started < limit:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.25)
        raise AssertionError(f"not within {limit} s: {script}\n{self.errors}")

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_until(self, place: str, then: str, limit: float = 60) -> None:
        """Click where an expression says, again and again until another one is true: what moves
        while a page settles is missed at times."""
        started = time.monotonic()
        while not self.run(then):
            assert time.monotonic() - started < limit, f"{place} did not lead to {then}"
            at = self.run(place)
            if at:
                self.click(*at)
            time.sleep(1)

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


def _connect(port: int, path: str) -> socket.socket:
    """A WebSocket (RFC 6455), open."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    )
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += _exactly(connection, 1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


def _send(connection: socket.socket, content: bytes) -> None:
    mask = secrets.token_bytes(4)
    length = len(content)
    if length < 126:
        head = struct.pack("!BB", 0x81, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, length)
    repeated = mask * (length // 4 + 1)
    masked = bytes(a ^ b for a, b in zip(content, repeated, strict=False))
    connection.sendall(head + mask + masked)


def _receive(connection: socket.socket) -> bytes:
    """One message, put together from its frames."""
    message = b""
    while True:
        first, second = _exactly(connection, 2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", _exactly(connection, 2))
        elif length == 127:
            (length,) = struct.unpack("!Q", _exactly(connection, 8))
        content = _exactly(connection, length)
        if first & 0x0F <= 2:  # text, its continuation, or bytes; the rest is upkeep
            message += content
            if first & 0x80:
                return message


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionError("Chromium closed the connection")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)

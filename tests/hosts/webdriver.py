"""A headless Chromium, driven through ChromeDriver: W3C WebDriver is JSON over HTTP.

Needed: `chromium` and `chromedriver` (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Without these it asks its maker's servers for updates, one connection after the other.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = ""

    def begin(self, size: tuple[int, int], profile: Path) -> None:
        window = f"--window-size={size[0]},{size[1]}"
        arguments = [*_ARGUMENTS, window, f"--user-data-dir={profile}"]
        options = {"args": arguments, "binary": shutil.which("chromium")}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        self._session = self._call("POST", "/session", {"capabilities": wanted})["sessionId"]

    def end(self) -> None:
        self._call("DELETE", f"/session/{self._session}")

    def open(self, address: str) -> None:
        self._do("POST", "/url", {"url": address})

    def find(self, selector: str, limit: float = 30) -> str:
        """The first element that a CSS selector finds, waited for."""
        until = time.monotonic() + limit
        while True:
            try:
                found = self._do("POST", "/element", {"using": "css selector", "value": selector})
                return str(found[_ELEMENT])
            except LookupError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def click(self, selector: str, limit: float = 30) -> None:
        element = self.find(selector, limit)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        self._do("POST", f"/element/{element}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        element = self.find(selector)
        self._do("POST", f"/element/{element}/clear", {})
        self._do("POST", f"/element/{element}/value", {"text": text})

    def press(self, selector: str, keys: str) -> None:
        self._do("POST", f"/element/{self.find(selector)}/value", {"text": keys})

    def text(self, selector: str) -> str:
        return str(self._do("GET", f"/element/{self.find(selector)}/text"))

    def enter(self, selector: str) -> None:
        """Go on inside a frame."""
        self._do("POST", "/frame", {"id": {_ELEMENT: self.find(selector)}})

    def leave(self) -> None:
        """Go on outside all frames."""
        self._do("POST", "/frame", {"id": None})

    def run(self, script: str, *elements: str) -> Any:
        """The value of a script's `return`; elements as arguments[0] and so on."""
        arguments = [{_ELEMENT: element} for element in elements]
        return self._do("POST", "/execute/sync", {"script": script, "args": arguments})

    def wait(self, script: str, limit: float = 60) -> Any:
        """Until a script returns what is true; returns that."""
        until = time.monotonic() + limit
        while not (value := self.run(script)):
            if time.monotonic() > until:
                raise AssertionError(f"never true within {limit} s: {script}")
            time.sleep(0.2)
        return value

    def messages(self) -> list[str]:
        """What the page's scripts complained of since the last call."""
        entries = self._do("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))
        return path

    def _do(self, method: str, path: str, content: Any = None) -> Any:
        return self._call(method, f"/session/{self._session}{path}", content)

    def _call(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode("utf-8")
        request = urllib.request.Request(self._url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            fault = json.loads(error.read())["value"]
            kind = LookupError if fault["error"] == "no such element" else AssertionError
            raise kind(f"{path}: {fault['error']}: {fault['message'][:400]}") from error


@contextmanager
def browsing(folder: Path, size: tuple[int, int] = (1400, 1000)) -> Iterator[Browser]:
    """A browser for a `with` block.

    Args:
        folder: for its profile; not used by another one.
        size: (width, height) of the window in pixels.
    """
    driver = shutil.which("chromedriver")
    assert driver and shutil.which("chromium"), "install chromium and chromedriver"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    browser = Browser(f"http://127.0.0.1:{port}")
    try:
        for _ in range(100):
            try:
                browser._call("GET", "/status")
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        browser.begin(size, folder / "profile")
        try:
            yield browser
        finally:
            browser.end()
    finally:
        process.kill()
        process.wait()

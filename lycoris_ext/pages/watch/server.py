"""Serve the page of runs on this machine, to the browser that was given its address.

Only 127.0.0.1 listens, on a port that the system chooses. Every address holds a token that nobody
else knows, and a request must name this server as its host, so that no page of another site can ask
for runs, neither directly nor with a name that it lets point here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote

from lycoris_ext.errors import DataError
from lycoris_ext.files import read_bytes
from lycoris_ext.pages.watch.content import Watched
from lycoris_ext.pages.watch.page import page_text

HOST = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class WatchServer(ThreadingHTTPServer):
    """The server; ``address`` is what the user opens.

    Args:
        runs: that the page shows.
    """

    daemon_threads = True

    def __init__(self, runs: Sequence[Watched]) -> None:
        super().__init__((HOST, 0), _Handler)
        self.runs = list(runs)
        self.token = secrets.token_urlsafe(24)
        self._reading = Lock()
        for run in self.runs:
            run.events.refresh()  # before the page is asked for

    @property
    def address(self) -> str:
        """The page's address, with the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def content(self) -> dict[str, Any]:
        """Return what the page shows now."""
        with self._reading:
            return {
                "live": "now.json",
                "runs": [
                    run.as_content(partial(_picture_address, n)) for n, run in enumerate(self.runs)
                ],
            }


def _picture_address(run: int, picture: Path) -> str:
    return f"picture/{run}/{quote(picture.name)}"


class _Handler(BaseHTTPRequestHandler):
    server: WatchServer

    def do_GET(self) -> None:
        hosts = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        token, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        known = secrets.compare_digest(token.encode("utf-8"), self.server.token.encode("ascii"))
        if self.headers.get("Host") not in hosts or not known:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"open the address that was printed")
            return
        try:
            self._serve([unquote(part) for part in rest.split("/") if part])
        except (DataError, OSError) as error:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", str(error).encode("utf-8", "replace"))

    def _serve(self, parts: list[str]) -> None:
        if not parts:
            page = page_text(self.server.content()).encode("utf-8", "replace")
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page)
        elif parts == ["now.json"]:
            now = json.dumps(self.server.content()).encode("utf-8")
            self._answer(HTTPStatus.OK, "application/json", now)
        else:
            self._answer(HTTPStatus.OK, "image/png", self._picture(parts))

    def _picture(self, parts: list[str]) -> bytes:
        """Return a picture of a run; nothing else on the disk can be named."""
        for number, run in enumerate(self.server.runs):
            for path in run.pictures() if parts[:2] == ["picture", str(number)] else ():
                if parts[2:] == [path.name]:
                    return read_bytes(path)
        raise DataError("there is no such picture", where="/".join(parts))

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **_HEADERS}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing about requests."""

"""A proxy in front of a host, which passes on what is below a prefix, such as /sd."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_NOT_PASSED_ON = {"host", "connection", "transfer-encoding", "content-length", "date", "server"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None  # the browser follows them


@contextmanager
def proxied(backend: str, prefix: str) -> Iterator[str]:
    """Run a proxy for a `with` block, and return the address below which the backend is.

    Args:
        backend: its address, without a slash at the end.
        prefix: such as "/sd".
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _pass_on(self, body: bytes | None) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self._answer(404, {}, b"outside of the prefix")
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_PASSED_ON}
            url = backend + self.path.removeprefix(prefix)
            request = urllib.request.Request(url, body, headers, method=self.command)
            opener = urllib.request.build_opener(_NoRedirects)
            try:
                with opener.open(request, timeout=300) as answer:
                    self._answer(answer.status, dict(answer.headers), answer.read())
            except urllib.error.HTTPError as error:
                self._answer(error.code, dict(error.headers), error.read())

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a browser breaks requests off when it leaves a page

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
        server.shutdown()

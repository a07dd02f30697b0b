"""Tests of who may ask the tab's routes, and what; they run in AUTOMATIC1111 and in Forge."""

from __future__ import annotations

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selenium.webdriver.common.by import By

from tests.browser import browsing, wait_for
from tests.hosts.webui import V1, Webui


def test_a_foreign_web_page_can_start_nothing(
    host: Webui, files: dict[str, str], tmp_path: Path
) -> None:
    asked = json.dumps({"file": files["loha"], "name": "foreign"})
    script = f"""
      const send = (path, options) => fetch("{host.url}{V1}" + path, {{method: "POST", ...options}})
        .then((answer) => answer.type + answer.status, (error) => error.name);
      const body = new Blob(['{asked}']), mode = "no-cors";
      const headers = {{"Content-Type": "application/json"}};
      Promise.all([
        send("/install", {{mode, body}}),
        send("/install", {{mode, body: new Blob(['{asked}'], {{type: "text/plain"}})}}),
        send("/install", {{headers, body}}),
        send("/job/interrupt", {{mode}}),
      ]).then((answers) => {{ window.answers = answers; }});
    """
    (tmp_path / "index.html").write_text(f"<script>{script}</script>", encoding="utf-8")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, browsing() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("localhost", "127.0.0.1"):  # another site, and the same one at another port
            browser.get(f"http://{name}:{server.server_port}/index.html")
            wait_for(browser, "window.answers")
        picture = f"{host.url}{V1}/grids"
        browser.get(f"http://localhost:{server.server_port}/index.html")
        browser.get(picture)  # a link may be followed
        assert browser.find_element(By.TAG_NAME, "body").text.startswith("[")
        server.shutdown()
    assert not list(host.loras.glob("foreign*"))
    own = {"Origin": host.url, "Sec-Fetch-Site": "same-origin"}
    assert host.request(f"{V1}/job/interrupt", {}, headers=own)[0] == 200
    for headers in (
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        status, answer = host.request(f"{V1}/job/interrupt", {}, headers=headers)
        assert status == 403 and "another web page" in answer["error"]
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": kind}
        status, answer = host.request(f"{V1}/job/interrupt", {}, headers=headers)
        assert status == 400 and "Content-Type: application/json" in answer["fix"]


def test_odd_requests_are_answered_in_words(host: Webui) -> None:
    for path, content in (
        ("/run", {"folder": "x/" * 5000}),
        ("/run", {"folder": str(host.data / "runs" / ("x" * 300))}),
        ("/grids", {"files": [], "prompts": ["\ud800"]}),
        ("/grids", {"files": [], "prompts": ["a " * 3_000_000]}),
        ("/votes", {"grid": "\u202e", "row": 10**30, "column": -5}),
        ("/install", [[[[]]]]),
    ):
        status, answer = host.request(V1 + path, content)
        assert status in (400, 403) and answer["error"] and answer["fix"], path
    assert host.get(f"{V1}/job")["state"] != "running"

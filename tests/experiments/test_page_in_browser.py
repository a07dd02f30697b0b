"""The page driven in a real browser: zoom, hide, flip, slide, vote."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.experiments.cells import CellStore
from lycoris_ext.experiments.draw import draw_grid
from lycoris_ext.experiments.output import write_grid
from lycoris_ext.experiments.plan import Entrant, GridPlan, Strength
from lycoris_ext.experiments.prompt_tests import PromptTest
from tests.experiments.conftest import ColourPainter
from tests.hosts.webdriver import Browser, browsing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="chromium and chromedriver are not installed",
    ),
]

RIGHT, DOWN, ESCAPE = "\ue014", "\ue015", "\ue00c"
VISIBLE = "return [...document.querySelectorAll('figure')].filter((f) => f.offsetWidth).length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    entrants = tuple(Entrant(name, name * 64, Path(name)) for name in "ab")
    tests = (PromptTest("a cat <b>"), PromptTest("a dog"))
    plan = GridPlan(entrants, tests, (Strength(), Strength(0.5, 1)))
    grid = draw_grid(plan, ColourPainter(), CellStore(folder / "cells"))
    page = write_grid(folder, grid, title="<i>a</i> and b", subtitle="both")
    with browsing(folder) as opened:
        opened.open(page.as_uri())
        yield opened


def test_it_stands_and_complains_of_nothing(browser: Browser) -> None:
    assert browser.text("#title") == "<i>a</i> and b"
    assert browser.run(VISIBLE) == 10
    loaded = "return [...document.images].filter((i) => i.src && i.naturalWidth !== 32).length"
    assert browser.run(loaded) == 0
    assert browser.messages() == []


def test_pictures_grow(browser: Browser) -> None:
    width = "return document.querySelector('figure').offsetWidth"
    for size in (96, 320):
        browser.run(
            f"const s = document.querySelector('#size'); s.value = {size};"
            "s.dispatchEvent(new Event('input'))"
        )
        assert browser.run(width) == size


def test_rows_and_columns_are_hidden(browser: Browser) -> None:
    for boxes, visible in (("#columns", 8), ("#rows", 4)):
        browser.run(f"document.querySelectorAll('{boxes} input')[1].click()")
        assert browser.run(VISIBLE) == visible
    for boxes in ("#columns", "#rows"):
        browser.run(f"document.querySelectorAll('{boxes} input')[1].click()")
    assert browser.run(VISIBLE) == 10


def test_flipping_in_place_and_beside_the_base(browser: Browser) -> None:
    browser.click("figure img")
    assert browser.text("#where") == "without adapter, a cat <b>"
    before = browser.run("return document.querySelector('#over').src")
    browser.press("#viewer", RIGHT)
    assert browser.text("#where") == "a at 1, a cat <b>"
    assert browser.run("return document.querySelector('#over').src") != before
    browser.press("#viewer", RIGHT)
    browser.press("#viewer", DOWN)
    assert browser.text("#where") == "a at 0.5:1, a dog"
    assert browser.text("#text") == "a dog"
    shown = "return getComputedStyle(document.querySelector('#under')).display"
    assert browser.run(shown) == "none"
    browser.press("#viewer", "b")
    assert browser.run(shown) == "block"
    browser.run(
        "const s = document.querySelector('#split'); s.value = 25;"
        "s.dispatchEvent(new Event('input'))"
    )
    clip = "return document.querySelector('#under').style.clipPath"
    assert browser.run(clip) == "inset(0px 75% 0px 0px)"
    browser.press("#viewer", "v")
    browser.press("#viewer", ESCAPE)
    assert browser.run("return document.querySelector('#viewer').open") is False


def test_votes_are_counted_kept_and_saved(browser: Browser) -> None:
    browser.run("document.querySelectorAll('.vote')[2].click()")
    assert browser.text("#tally") == "Best so far: a at 0.5:1 (2)"
    browser.run(
        "window.blobs = []; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { window.blobs.push(blob); return make(blob); };"
        "document.querySelector('#save').click();"
        "window.blobs[0].text().then((text) => { window.saved = text; })"
    )
    saved = json.loads(browser.wait("return window.saved"))
    assert [(vote["prompt"], vote["strength"]) for vote in saved["votes"]] == [
        ("a cat <b>", "0.5:1"),
        ("a dog", "0.5:1"),
    ]
    browser.run("document.querySelectorAll('.vote')[2].click()")
    assert browser.text("#tally") == "Best so far: a at 0.5:1 (1)"
    assert browser.messages() == []


def test_a_star_is_posted_and_taken_back(browser: Browser, tmp_path: Path) -> None:
    plan = GridPlan((), (PromptTest("a cat"),))
    grid = draw_grid(plan, ColourPainter(), CellStore(tmp_path / "cells"))
    page = write_grid(tmp_path, grid, title="a", votes_url="../../votes").read_bytes()
    posted: list[dict[str, Any]] = []

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer("text/html", page)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append({"path": self.path, **asked})
            self.answer("application/json", b"{}")

        def answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/v1/grids/x/page")
        for count in (1, 2):
            browser.click(".vote")
            for _ in range(100):
                if len(posted) < count:
                    time.sleep(0.05)
        server.shutdown()
    told = {"path": "/v1/votes", "grid": plan.id, "row": 0}
    assert posted == [{**told, "column": 0}, {**told, "column": -1}]

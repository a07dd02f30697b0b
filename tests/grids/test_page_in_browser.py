"""The HTML page of a grid in a real browser: zoom, hide, flip, compare, vote."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from lycoris_ext.grids.cells import CellStore
from lycoris_ext.grids.draw import draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength
from lycoris_ext.grids.output import write_grid
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest
from tests.browser import CHROMEDRIVER, CHROMIUM, browsing, wait_for
from tests.grids.conftest import ColourPainter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed"
    ),
]

VISIBLE = "return [...document.querySelectorAll('figure')].filter((f) => f.offsetWidth).length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    folder = tmp_path_factory.mktemp("page")
    entrants = tuple(Entrant(name, name * 64, Path(name)) for name in ("<i>a</i>", "b"))
    tests = (PromptTest("a cat <b>"), PromptTest("a dog"))
    plan = GridPlan.crossed(entrants, tests, strengths=(Strength(), Strength(0.5, 1)))
    grid = draw_grid(plan, ColourPainter(), CellStore(folder / "cells"))
    page = write_grid(folder, grid, about="both")
    with browsing() as opened:
        opened.get(page.as_uri())
        yield opened


def test_the_page_shows_every_picture_and_logs_no_error(browser: Chrome) -> None:
    assert browser.find_element(By.ID, "title").text == "<i>a</i>, b"
    subtitle = browser.find_element(By.ID, "subtitle").text
    assert subtitle == "Euler, 20 steps, CFG 7, 512x512, seed 1, both"
    assert browser.execute_script(VISIBLE) == 10
    loaded = "return [...document.images].filter((i) => i.src && i.naturalWidth !== 32).length"
    assert browser.execute_script(loaded) == 0
    assert browser.get_log("browser") == []


def test_the_slider_changes_the_size_of_the_pictures(browser: Chrome) -> None:
    width = "return document.querySelector('figure').offsetWidth"
    for size in (96, 320):
        browser.execute_script(
            f"const s = document.querySelector('#size'); s.value = {size};"
            "s.dispatchEvent(new Event('input'))"
        )
        assert browser.execute_script(width) == size


def test_unticking_a_row_or_a_column_hides_it(browser: Chrome) -> None:
    for boxes, visible in (("#columns", 8), ("#rows", 4)):
        browser.execute_script(f"document.querySelectorAll('{boxes} input')[1].click()")
        assert browser.execute_script(VISIBLE) == visible
    for boxes in ("#columns", "#rows"):
        browser.execute_script(f"document.querySelectorAll('{boxes} input')[1].click()")
    assert browser.execute_script(VISIBLE) == 10


def test_keys_flip_through_the_pictures_and_lay_them_over_the_base(browser: Chrome) -> None:
    browser.find_element(By.CSS_SELECTOR, "figure img").click()
    viewer, where, over, under = (
        browser.find_element(By.ID, name) for name in ("viewer", "where", "over", "under")
    )
    assert where.text == "without adapter, a cat <b>"
    before = over.get_property("src")
    viewer.send_keys(Keys.RIGHT)
    assert where.text == "<i>a</i> at 1, a cat <b>"
    assert over.get_property("src") != before
    viewer.send_keys(Keys.RIGHT)
    viewer.send_keys(Keys.DOWN)
    assert where.text == "<i>a</i> at 0.5:1, a dog"
    assert browser.find_element(By.ID, "text").text == "a dog"
    assert under.value_of_css_property("display") == "none"
    viewer.send_keys("b")
    assert under.value_of_css_property("display") == "block"
    browser.execute_script(
        "const s = document.querySelector('#split'); s.value = 25;"
        "s.dispatchEvent(new Event('input'))"
    )
    clip = "return document.querySelector('#under').style.clipPath"
    assert browser.execute_script(clip) == "inset(0px 75% 0px 0px)"
    for of_the_browser in (Keys.CONTROL + "b", Keys.CONTROL + "v", Keys.ALT + "v"):
        viewer.send_keys(of_the_browser)
    assert under.value_of_css_property("display") == "block"
    assert "best of its row" in browser.find_element(By.ID, "tally").text
    browser.find_element(By.ID, "compare").send_keys(Keys.SPACE)
    assert under.value_of_css_property("display") == "none"
    viewer.send_keys("v")
    viewer.send_keys(Keys.ESCAPE)
    assert viewer.get_property("open") is False


def test_votes_are_counted_kept_and_saved(browser: Chrome) -> None:
    browser.execute_script("document.querySelectorAll('.vote')[2].click()")
    tally = browser.find_element(By.ID, "tally")
    assert tally.text == "Best so far: <i>a</i> at 0.5:1 (2)"
    browser.execute_script(
        "window.blobs = []; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { window.blobs.push(blob); return make(blob); };"
        "document.querySelector('#save').click();"
        "window.blobs[0].text().then((text) => { window.saved = text; })"
    )
    saved = json.loads(wait_for(browser, "window.saved"))
    assert [(vote["prompt"], vote["strength"]) for vote in saved["votes"]] == [
        ("a cat <b>", "0.5:1"),
        ("a dog", "0.5:1"),
    ]
    browser.execute_script("document.querySelectorAll('.vote')[2].click()")
    assert tally.text == "Best so far: <i>a</i> at 0.5:1 (1)"
    assert browser.get_log("browser") == []


class Host:
    """Serves a page, answers with the votes in `kept`, and keeps what is posted."""

    def __init__(self, folder: Path) -> None:
        plan = GridPlan.crossed((), (PromptTest("a cat"), PromptTest("a dog")))
        grid = draw_grid(plan, ColourPainter(), CellStore(folder / "cells"))
        page = write_grid(folder, grid, votes_url="../../votes").read_bytes()
        self.grid, self.kept, self.status = plan.id, {}, 200
        self.posted: list[dict[str, Any]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == f"/v1/votes/{plan.id}":
                    self.answer("application/json", json.dumps(host.kept).encode())
                else:
                    self.answer("text/html", page)

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                host.posted.append({"path": self.path, **asked})
                self.answer("application/json", b"{}")

            def answer(self, kind: str, content: bytes) -> None:
                self.send_response(200 if kind == "text/html" else host.status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/grids/{plan.id}/page"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    serving = Host(tmp_path)
    with serving.server as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield serving
        server.shutdown()


def test_a_click_on_a_star_posts_a_vote_and_the_next_one_withdraws_it(
    browser: Chrome, host: Host
) -> None:
    browser.get(host.url)
    for count in (1, 2):
        browser.find_element(By.CLASS_NAME, "vote").click()
        for _ in range(100):
            if len(host.posted) < count:
                time.sleep(0.05)
    told = {"path": "/v1/votes", "grid": host.grid, "row": 0}
    assert host.posted == [{**told, "column": 0}, {**told, "column": -1}]


def test_votes_that_the_host_keeps_are_shown(browser: Chrome, host: Host) -> None:
    host.kept = {"1": 0}
    browser.get(host.url)
    wait_for(browser, "document.querySelectorAll('button.vote.mine').length === 1")
    assert browser.find_element(By.ID, "tally").text == "Best so far: without adapter (1)"
    browser.find_element(By.CLASS_NAME, "vote").click()
    assert browser.find_element(By.ID, "tally").text == "Best so far: without adapter (2)"
    host.kept = {}
    browser.get(host.url)
    wait_for(browser, "document.querySelectorAll('button.vote').length === 2")
    time.sleep(0.3)
    assert browser.execute_script("return document.querySelector('button.vote.mine')") is None


def test_the_page_says_that_votes_could_not_be_read(browser: Chrome, host: Host) -> None:
    host.status = 400
    browser.get(host.url)
    told = "document.querySelector('#tally').textContent"
    wait_for(browser, f"{told} === 'The votes could not be read: the host answered 400'")

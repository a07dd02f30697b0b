"""The page of `lycoris-ext watch` in a real browser: charts, pictures, options, new steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from lycoris_ext.cli import main
from lycoris_ext.pages.watch.server import WatchServer
from tests.browser import CHROMEDRIVER, CHROMIUM, browsing, wait_for
from tests.pages.test_watch import serving, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed"
    ),
]

TITLES = "[...document.querySelectorAll('.chart h2')].map((one) => one.textContent)"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def desktop() -> Iterator[Chrome]:
    with browsing() as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WatchServer]:
    one = write_run(tmp_path, "one", 40, f"network_dim = 8\nx = {json.dumps(HOSTILE)}\n", 3)
    two = write_run(tmp_path, "two", 30, "network_dim = 16\n", 2)
    with serving(one, two) as running:
        yield running


def test_two_runs_are_shown_beside_each_other_and_go_on(
    desktop: Chrome, server: WatchServer
) -> None:
    desktop.get(server.address)
    assert wait_for(desktop, TITLES)[:2] == ["Loss", "Learning rates"]
    tiles = [one.text for one in desktop.find_elements(By.CLASS_NAME, "tile")]
    assert "step 40 of 80 · 2 s a step · 80 s left" in tiles[0] and tiles[1].startswith("two")
    assert "one: loss, smoothed" in desktop.find_element(By.CLASS_NAME, "chart").text
    assert len(desktop.find_elements(By.CSS_SELECTOR, ".chart:first-child .line")) == 2

    assert desktop.find_element(By.ID, "step").text == "step 30"
    assert "No picture at this step" in desktop.find_element(By.ID, "shown").text
    desktop.find_element(By.ID, "at_step").send_keys(Keys.ARROW_LEFT)
    assert desktop.find_element(By.ID, "step").text == "step 20"
    wait_for(desktop, "[...document.images].filter((one) => one.naturalWidth === 96).length === 4")

    rows = desktop.find_element(By.CSS_SELECTOR, "#options table").text
    assert "network_dim 8 16" in rows and HOSTILE in rows
    with server.runs[0].paths.events.open("a", encoding="utf-8") as file:
        file.write(
            '{"event": "step", "step": 41, "loss": 0.2}\n{"event": "finished", "step": 41}\n'
        )
    wait_for(
        desktop, "document.querySelector('.tile').innerText.includes('step 41 of 80 · finished')"
    )
    assert desktop.get_log("browser") == []


def test_the_page_as_a_file_works_without_a_server(desktop: Chrome, tmp_path: Path) -> None:
    run, page = write_run(tmp_path, "one", 20), tmp_path / "page.html"
    assert main(["watch", str(run.events), "--html", str(page)]) == 0
    desktop.get(page.as_uri())
    wait_for(desktop, "[...document.images].filter((one) => one.naturalWidth === 96).length === 2")
    assert desktop.find_element(By.ID, "state").text == ""
    assert desktop.get_log("browser") == []


def test_nothing_is_wider_than_a_phone(server: WatchServer) -> None:
    with browsing((390, 844), touch=True) as phone:
        phone.get(server.address)
        wait_for(phone, TITLES)
        assert phone.execute_script("return document.documentElement.scrollWidth") == 390

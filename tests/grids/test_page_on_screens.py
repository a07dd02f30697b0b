"""The page of a grid on a desktop, a phone and a touch screen, large and while it is drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from lycoris_ext.grids.cells import CellStore, Painted
from lycoris_ext.grids.draw import Grid, draw_grid
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.page import write_page
from lycoris_ext.grids.plan import Cell, GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings
from tests.browser import CHROMEDRIVER, CHROMIUM, browsing, wait_for
from tests.grids.conftest import ColourPainter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed"
    ),
]

NAMES = [f"my_character_v3_lora-{epoch:06}" for epoch in range(1, 11)]
SHOWN = "return getComputedStyle(document.querySelector('{}')).{}"
#: Left edge of the first row's label, top of the first column's heading.
EDGES = (
    "const place = (q) => document.querySelector(q).getBoundingClientRect();"
    "return [place('tbody th').left, place('thead th').top]"
)


def write_large(folder: Path, rows: int, names: list[str] = NAMES) -> Path:
    """Write a page of many cells, which share a few pictures."""
    store = CellStore(folder / "store")
    pictures = [
        store.keep(str(number) * 64, Painted(Image.new("RGB", (512, 512), colour), "parameters"))
        for number, colour in enumerate(("#a33", "#3a3", "#33a"))
    ]
    entrants = [Entrant(name, f"{index:064}", Path(name)) for index, name in enumerate(names)]
    prompt = PromptTest("Tilty, 1girl, standing in a field of flowers, wide shot, sunset")
    plan = GridPlan.crossed(entrants, (prompt,), seeds=tuple(range(rows)))
    cells = (Cell(row, column) for row in plan.rows for column in plan.columns)
    grid = Grid(plan, {cell: pictures[number % 3] for number, cell in enumerate(cells)})
    return write_page(folder, grid, about="a host")


@pytest.fixture(scope="module")
def desktop() -> Iterator[Chrome]:
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def phone() -> Iterator[Chrome]:
    with browsing((390, 844), touch=True) as opened:
        yield opened


def test_headings_and_row_labels_stay_in_sight_while_the_table_scrolls(
    desktop: Chrome, tmp_path: Path
) -> None:
    desktop.get(write_large(tmp_path, rows=20).as_uri())
    before = desktop.execute_script(EDGES)
    desktop.execute_script("document.querySelector('#size').value = 300;")
    desktop.execute_script("document.querySelector('#size').dispatchEvent(new Event('input'))")
    scrolled = desktop.execute_script(
        "const box = document.querySelector('#scroller'); box.scrollTo(900, 2000);"
        "return [box.scrollLeft, box.scrollTop]"
    )
    assert scrolled == [900, 2000]
    assert desktop.execute_script(EDGES) == before
    assert desktop.find_element(By.CSS_SELECTOR, "thead th:nth-child(3)").text == "…000001"


def test_a_grid_of_three_thousand_pictures_opens_and_loads_those_in_sight(
    desktop: Chrome, tmp_path: Path
) -> None:
    page = write_large(tmp_path, rows=273)
    started = time.monotonic()
    desktop.get(page.as_uri())
    wait_for(desktop, "document.querySelectorAll('figure').length === 3003")
    wait_for(desktop, "document.images[0].naturalWidth === 512")
    assert time.monotonic() - started < 10
    waiting = (
        "return [...document.images].filter((i) => i.loading === 'lazy' && !i.complete).length"
    )
    assert desktop.execute_script(waiting) > 1000


def test_the_page_takes_the_theme_of_the_host_that_shows_it(
    desktop: Chrome, tmp_path: Path
) -> None:
    page = write_large(tmp_path, rows=1).as_uri()
    papers = {}
    for theme in ("light", "dark"):
        desktop.get(f"{page}?__theme={theme}")
        papers[theme] = desktop.execute_script(SHOWN.format("body", "backgroundColor"))
    assert papers == {"light": "rgb(250, 250, 251)", "dark": "rgb(22, 24, 29)"}
    for system in ("dark", "light"):
        preference = {"name": "prefers-color-scheme", "value": system}
        desktop.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
        desktop.get(page)
        assert desktop.execute_script(SHOWN.format("body", "backgroundColor")) == papers[system]


def test_on_a_phone_the_table_scrolls_inside_itself_below_a_low_heading(
    phone: Chrome, tmp_path: Path
) -> None:
    phone.get(write_large(tmp_path, rows=20).as_uri())
    sizes = phone.execute_script(
        "const page = document.documentElement, box = document.querySelector('#scroller');"
        "return [page.scrollWidth, page.scrollHeight, box.scrollWidth > 1000,"
        " document.querySelector('tbody').getBoundingClientRect().top,"
        " document.querySelectorAll('td img')[1].getBoundingClientRect().width]"
    )
    assert sizes[:3] == [390, 844, True]
    assert sizes[3] < 844 / 5 and sizes[4] >= 128


def test_stars_are_in_sight_where_nothing_can_hover(
    desktop: Chrome, phone: Chrome, tmp_path: Path
) -> None:
    page = write_large(tmp_path, rows=1).as_uri()
    seen = {}
    for name, browser in (("desktop", desktop), ("phone", phone)):
        browser.get(page)
        seen[name] = browser.execute_script(SHOWN.format(".vote", "opacity"))
    assert seen == {"desktop": "0", "phone": "1"}
    phone.find_element(By.CSS_SELECTOR, "figure img").click()
    phone.find_element(By.ID, "after").click()
    assert phone.find_element(By.ID, "where").text.startswith(NAMES[0])
    assert phone.get_log("browser") == []


def test_the_page_fills_while_it_is_drawn_and_keeps_its_place(
    desktop: Chrome, tmp_path: Path
) -> None:
    plan = GridPlan.crossed(
        (), (PromptTest("a"),), seeds=tuple(range(30)), settings=Settings(width=32, height=24)
    )
    store = CellStore(tmp_path / "store")
    half = draw_grid(plan, ColourPainter(stop_after=12), store)
    page = write_page(tmp_path, half, running=True)
    desktop.get(page.as_uri())
    desktop.execute_script(
        "document.querySelector('#size').value = 128;"
        "document.querySelector('#size').dispatchEvent(new Event('input'));"
        "document.querySelectorAll('#rows input')[3].click();"
        "document.querySelector('#scroller').scrollTo(0, 700)"
    )
    tally = "document.querySelector('#tally').textContent"
    assert desktop.execute_script(f"return {tally}").startswith("Drawing: 12 of 30 pictures.")
    assert desktop.execute_script("return document.querySelectorAll('.empty').length") == 18
    write_page(tmp_path, draw_grid(plan, ColourPainter(stop_after=5), store), running=True)
    wait_for(desktop, "document.querySelectorAll('figure').length === 17", 30)
    kept = desktop.execute_script(
        "return [document.querySelector('#size').value, document.querySelector('#scroller')"
        ".scrollTop, document.querySelectorAll('tr.hidden').length]"
    )
    assert kept == ["128", 700, 1]
    write_page(tmp_path, draw_grid(plan, ColourPainter(), store))
    wait_for(desktop, "document.querySelectorAll('figure').length === 30", 30)
    assert not desktop.execute_script(f"return {tally}").startswith("Drawing")
    assert desktop.get_log("browser") == []


def test_a_name_that_turns_its_text_around_leaves_its_neighbours_alone(
    desktop: Chrome, tmp_path: Path
) -> None:
    desktop.get(write_large(tmp_path, rows=1, names=["a\u202eb", "c"]).as_uri())
    assert desktop.find_element(By.ID, "title").text == "a<U+202E>b, c"
    assert desktop.title == "a<U+202E>b, c"
    assert "\u202e" not in desktop.execute_script("return document.body.innerText")

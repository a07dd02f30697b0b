"""The page of a data set's report in a real browser: findings, tags, pictures, themes, a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from lycoris_ext.pages.dataset.page import write_report_page
from tests.browser import CHROMEDRIVER, CHROMIUM, browsing, fill, wait_for
from tests.grids.test_page import HOSTILE
from tests.pages.test_dataset_page import NAME, report_on, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed"
    ),
]

TILES = "return [...document.querySelectorAll('.tile')].map((t) => t.innerText.replace('\\n', ' '))"
FIGURES = "document.querySelectorAll('#gallery figure').length"
FIRST_TAGS = "return [...document.querySelectorAll('.tag')].slice(0, 3).map((t) => t.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    root = folder / "set"
    for number in range(40):
        size = (96, 64) if number % 2 else (64, 96)
        tags = ["A", "outdoors"] + ["hat"] * (number < 9) + [f"only {number}"]
        write(root / "2_girls~fanart~A" / f"{number:02}.png", ", ".join(tags), size)
    for number in range(9):
        write(root / "3_girls~screens~A+B" / f"{number}.png", "A, B, aniscreen", (200, 40))
    write(root / "3_girls~screens~B" / "none.png")
    write(root / f"1_{NAME}" / f"{NAME}.png", f"{HOSTILE}, hat, \u202eback, " + "very " * 90)
    (root / "3_girls~screens~B" / "damaged.jpg").write_bytes(b"no picture")
    return write_report_page(folder / "page", report_on(root))


@pytest.fixture(scope="module")
def desktop() -> Iterator[Chrome]:
    with browsing() as opened:
        yield opened


@pytest.fixture
def browser(desktop: Chrome, page: Path) -> Chrome:
    desktop.get(page.as_uri())
    return desktop


def test_the_page_opens_without_an_error_and_hostile_names_are_only_text(browser: Chrome) -> None:
    assert browser.title == browser.find_element(By.ID, "title").text == "set"
    tiles = browser.execute_script(TILES)
    assert tiles[:3] == ["52 pictures", "114 samples in an epoch", "3 concepts"]
    assert "2 without a caption" in tiles
    names = [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".sheet h3")]
    assert names == [NAME, "A", "B"]
    # A has fan art and screenshots; the other one is alone with its level.
    marked = browser.find_elements(By.XPATH, "//*[@class='chip warn']/../h3")
    assert [one.text for one in marked] == ["B"]
    assert "\u202e" not in browser.execute_script("return document.body.innerText")
    wait_for(browser, "[...document.images].filter((i) => i.src && i.naturalWidth).length > 20")
    broken = "return [...document.images].filter((i) => i.complete && i.src && !i.naturalWidth)"
    assert browser.execute_script(f"{broken}.length") == 0
    assert browser.get_log("browser") == []


def test_findings_unfold_to_their_pictures_and_reasons(browser: Chrome) -> None:
    codes = [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".finding code")]
    assert codes[:2] == ["LX009", "LX012"] and "LX018" in codes
    severities = [one.text for one in browser.find_elements(By.CLASS_NAME, "severity")]
    assert severities == sorted(severities, key=["ERROR", "WARNING", "NOTE"].index)
    missing, damaged = browser.find_elements(By.CSS_SELECTOR, ".finding summary")[:2]
    missing.send_keys(Keys.ENTER)
    wait_for(browser, "document.querySelectorAll('.finding[open] figure').length === 2")
    missing.send_keys(Keys.ENTER)
    damaged.click()
    shown = browser.find_element(By.CSS_SELECTOR, ".finding[open] .broken")
    assert shown.text.startswith("not a picture")
    assert "What to do: replace or delete the file." in browser.page_source


def test_tags_are_searched_filtered_and_sorted(browser: Chrome) -> None:
    assert browser.execute_script(FIRST_TAGS) == ["A", "outdoors", "hat"]
    fill(browser.find_element(By.ID, "find"), "ONLY 3")
    assert browser.find_element(By.ID, "found").text == "11 tags"
    browser.find_element(By.ID, "find").send_keys(Keys.CONTROL + "a", Keys.DELETE)
    Select(browser.find_element(By.ID, "where")).select_by_visible_text("B")
    assert browser.execute_script(FIRST_TAGS) == ["A", "B", "aniscreen"]
    row = browser.find_elements(By.CSS_SELECTOR, ".tags tbody tr")[0]
    assert [cell.text for cell in row.find_elements(By.TAG_NAME, "td")] == [
        "A",
        "9",
        "27",
        "82%",
        "98%",
    ]
    Select(browser.find_element(By.ID, "where")).select_by_visible_text("everywhere")
    Select(browser.find_element(By.ID, "often")).select_by_visible_text("2 to 5 times")
    assert browser.find_element(By.ID, "found").text == "0 tags"
    Select(browser.find_element(By.ID, "often")).select_by_visible_text("only once")
    browser.find_element(By.CSS_SELECTOR, "th.name button").send_keys(Keys.ENTER)
    first = browser.execute_script(FIRST_TAGS)
    browser.find_element(By.CSS_SELECTOR, "th.name button").send_keys(Keys.ENTER)
    assert "only 9" not in first and browser.execute_script(FIRST_TAGS) != first


def test_a_tag_shows_its_pictures_and_a_picture_its_caption_and_crop(browser: Chrome) -> None:
    fill(browser.find_element(By.ID, "find"), "hat")
    browser.find_element(By.CLASS_NAME, "tag").click()
    assert browser.find_element(By.ID, "gallery_count").text == "10 pictures"
    wait_for(browser, f"{FIGURES} === 10")
    browser.find_elements(By.CSS_SELECTOR, "#gallery .thumb")[1].send_keys(Keys.ENTER)
    viewer = browser.find_element(By.ID, "viewer")
    assert browser.find_element(By.ID, "viewer_title").text.endswith("00.png")
    assert browser.find_element(By.ID, "caption").text == "A, outdoors, hat, only 0"
    assert "2 of 10" in browser.find_element(By.ID, "facts").text
    viewer.send_keys(Keys.LEFT)
    assert HOSTILE in browser.find_element(By.ID, "caption").text
    viewer.send_keys(Keys.LEFT)
    assert "10 of 10" in browser.find_element(By.ID, "facts").text
    assert not browser.find_element(By.ID, "box").is_displayed()
    viewer.send_keys("c")
    assert browser.find_element(By.ID, "box").is_displayed()
    wait_for(browser, "document.querySelector('#large').naturalWidth > 0")
    assert browser.find_element(By.ID, "large").get_property("src").endswith("/08.png")
    browser.find_element(By.XPATH, "//div[@id='chips']/button[.='outdoors']").click()
    assert browser.find_element(By.ID, "gallery_count").text == "40 pictures"
    browser.find_element(By.ID, "gallery").send_keys(Keys.ESCAPE)
    assert not browser.find_element(By.ID, "gallery").is_displayed()
    assert browser.get_log("browser") == []


def test_charts_and_the_table_of_concepts_open_the_pictures_that_they_count(
    browser: Chrome,
) -> None:
    for place, count in (
        (".heat", "9 pictures"),
        (".bar-row", "22 pictures"),
        (".column:not(:disabled)", "49 pictures"),
    ):
        # By a key, so that all of them can be reached without a mouse.
        browser.find_element(By.CSS_SELECTOR, place).send_keys(Keys.ENTER)
        assert browser.find_element(By.ID, "gallery_count").text == count, place
        browser.find_element(By.ID, "gallery").send_keys(Keys.ESCAPE)
    browser.execute_script("document.querySelector('circle').dispatchEvent(new Event('click'))")
    assert browser.find_element(By.ID, "gallery").is_displayed()


def test_more_pictures_are_shown_on_demand_and_concepts_are_found(browser: Chrome) -> None:
    sheet = browser.find_elements(By.CLASS_NAME, "sheet")[1]
    assert len(sheet.find_elements(By.TAG_NAME, "figure")) == 12
    more = sheet.find_element(By.CLASS_NAME, "more")
    assert more.text == "Show 24 more of 37 pictures"
    more.click()
    assert more.text == "Show the other 13"
    more.click()
    assert len(sheet.find_elements(By.TAG_NAME, "figure")) == 49 and not more.is_displayed()


def test_the_page_follows_the_systems_theme_until_it_is_switched(browser: Chrome) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    seen = {}
    for system in ("dark", "light"):
        preference = {"name": "prefers-color-scheme", "value": system}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
        wait_for(browser, f"document.documentElement.dataset.theme === '{system}'")
        seen[system] = browser.execute_script(paper)
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script(paper) == seen["dark"] != seen["light"]


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Path) -> None:
    with browsing((390, 844), touch=True) as phone:
        phone.get(page.as_uri())
        for line in phone.find_elements(By.CSS_SELECTOR, ".finding summary"):
            line.click()
        assert phone.execute_script("return document.documentElement.scrollWidth") == 390
        phone.find_element(By.CSS_SELECTOR, "#concepts .thumb").click()
        wide = "return document.querySelector('#viewer').getBoundingClientRect().width"
        assert phone.execute_script(wide) == 390
        phone.find_element(By.ID, "after").click()
        assert phone.execute_script("return document.documentElement.scrollWidth") == 390
        assert phone.get_log("browser") == []


def test_where_the_data_set_is_gone_the_viewer_shows_the_small_copy(
    desktop: Chrome, tmp_path: Path
) -> None:
    write(tmp_path / "set" / "1_a" / "x.png", "one")
    page = write_report_page(tmp_path / "page", report_on(tmp_path / "set"))
    shutil.rmtree(tmp_path / "set")
    desktop.get(page.as_uri())
    desktop.find_element(By.CLASS_NAME, "thumb").click()
    wait_for(desktop, "document.querySelector('#large').src.endsWith('.jpg')")
    wait_for(desktop, "document.querySelector('#large').naturalWidth === 96")

"""The tab in an AUTOMATIC1111 that is started otherwise than usual, in the dark and on a phone.

It is behind a proxy below a prefix, without gradio's queue, and has a password for its API.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.browser import browsing, fill, wait_for
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.proxy import proxied
from tests.hosts.webui import SMALL, V1, Webui, click_tab, running
from tests.hosts.webui_adapters import write_adapter

pytestmark = pytest.mark.hosts

USER = "ann:secret"
ARGUMENTS = ("--no-gradio-queue", "--subpath=sd", f"--api-auth={USER}")
PROGRESS = "document.querySelector('#lycoris_ext_progress').innerText"
FRAME = "#lycoris_ext_page_{} iframe.lycoris-ext"


@pytest.fixture(scope="module")
def host(webui: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    data = tmp_path_factory.mktemp("webui")
    for step in (100, 200):
        path = data / "runs" / "tilty" / f"my_long_name_of_tilty-{step:06}.safetensors"
        write_adapter(path, "loha", seed=step, step=step)
    settings = {
        "lycoris_ext_run_folders": str(data / "runs"),
        "lycoris_ext_train_python": sys.executable,
    }
    (data / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with running(webui, data, {"clone": ROOT}, *ARGUMENTS) as running_host:
        yield running_host


@pytest.fixture(scope="module")
def address(host: Webui) -> Iterator[str]:
    with proxied(host.url, "/sd") as url:
        yield url


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Chrome]:
    with browsing((1400, 1200)) as opened:
        yield opened


def open_tab(browser: Chrome, address: str, theme: str = "dark") -> None:
    browser.get(f"{address}/?__theme={theme}")
    wait_for(browser, "document.querySelectorAll('#tabs > .tab-nav button').length")
    click_tab(browser, "#tabs", "LyCORIS Ext")


def field(browser: Chrome, name: str) -> str:
    """Return the value of a text field, once it is filled."""
    script = f"document.querySelector('#lycoris_ext_{name}').querySelector('textarea, input').value"
    return str(wait_for(browser, script))


def in_frame(browser: Chrome, page: str, script: str) -> object:
    """Run a script in the frame of a page of the tab, once its pictures are there."""
    browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, FRAME.format(page)))
    try:
        wait_for(browser, "document.images.length && document.images[0].naturalWidth === 128")
        return browser.execute_script(f"return {script}")
    finally:
        browser.switch_to.default_content()


def test_a_grid_is_drawn_and_fills_its_page_without_a_queue_behind_a_proxy(
    browser: Chrome, address: str, host: Webui
) -> None:
    open_tab(browser, address)
    path = browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_folder textarea")
    fill(path, str(host.data / "runs" / "tilty"))
    browser.find_element(By.ID, "lycoris_ext_list").click()
    wait_for(browser, "document.querySelectorAll('#lycoris_ext_run_table table').length")
    click_tab(browser, "#lycoris_ext_pages", "2 Test")
    values = {"prompts": "a cat\na dog", "steps": SMALL["steps"], "width": 128, "height": 128}
    for name, value in values.items():
        fill(
            browser.find_element(
                By.CSS_SELECTOR, f"#lycoris_ext_{name} textarea, #lycoris_ext_{name} input"
            ),
            str(value),
        )
    browser.find_element(By.ID, "lycoris_ext_draw").click()
    wait_for(browser, f"{PROGRESS}.includes('of 18 pictures')")
    wait_for(browser, f"document.querySelector('{FRAME.format('test')}')")
    drawing = in_frame(browser, "test", "document.querySelectorAll('figure').length")
    assert 1 <= int(str(drawing)) < 18, "the page was shown before the grid was done"
    wait_for(browser, f"{PROGRESS}.startsWith('complete: 18 of 18')", 300)
    time.sleep(1)
    assert in_frame(browser, "test", "document.querySelectorAll('figure').length") == 18
    assert in_frame(browser, "test", "document.documentElement.dataset.theme") == "dark"
    headings = "[...document.querySelectorAll('thead th span')].map((each) => each.textContent)"
    assert in_frame(browser, "test", headings) == ["without adapter", "…000100", "…000200"]


def test_the_form_comes_back_when_the_page_is_loaded_again(browser: Chrome, address: str) -> None:
    open_tab(browser, address)
    assert field(browser, "folder").endswith("tilty")
    assert field(browser, "prompts") == "a cat\na dog"
    assert field(browser, "width") == "128"
    ticked = "document.querySelectorAll('#lycoris_ext_chosen input:checked').length"
    assert wait_for(browser, ticked) == 2


def test_a_page_is_judged_in_the_browser_although_the_api_has_a_password(
    browser: Chrome, address: str, host: Webui
) -> None:
    open_tab(browser, address)
    click_tab(browser, "#lycoris_ext_pages", "3 Judge")
    browser.find_element(By.ID, "lycoris_ext_refresh_grids").click()
    browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_grids input").click()
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))",
        browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_grids ul li"),
    )
    wait_for(browser, f"document.querySelector('{FRAME.format('judge')}')")
    star = "document.querySelectorAll('.vote')[1].click()"
    best = f"({star}, document.querySelector('#tally').innerText)"
    said = in_frame(browser, "judge", best)
    assert said == "Best so far: my_long_name_of_tilty-000100 (1)"
    browser.find_element(By.ID, "lycoris_ext_save_page").click()
    link = browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_saved_page a").get_attribute("href")
    with urllib.request.urlopen(str(link)) as answer:
        text = answer.read().decode("utf-8")
    assert text.count("data:image/png;base64,") == 18 and '"src":"cells/' not in text
    for path in ("/runs", "/grids"):
        assert host.request(V1 + path)[0] == 401
        assert host.request(V1 + path, user="ann:wrong")[0] == 401
        assert host.request(V1 + path, user=USER)[0] == 200


def test_a_training_that_fails_is_told_by_its_own_sentence(
    browser: Chrome, address: str, host: Webui
) -> None:
    config = host.data / "runs" / "wrong.toml"
    known = 'pretrained_model_name_or_path = "mini"\ntrain_data_dir = "x"\n'
    config.write_text(known + 'output-dir = "x"\nnonsense = 3\n', encoding="utf-8")
    click_tab(browser, "#lycoris_ext_pages", "Train")
    fill(browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_config textarea"), str(config))
    browser.find_element(By.ID, "lycoris_ext_train").click()
    told = "document.querySelector('#lycoris_ext_training').innerText"
    wait_for(browser, f"{told}.startsWith('wrong.toml: failed')", 120)
    said = browser.find_element(By.ID, "lycoris_ext_training").text
    assert "nonsense" in said and "output_dir" in said and "2 things are wrong" in said


def test_on_a_phone_no_page_of_the_tab_is_wider_than_the_screen(
    address: str, host: Webui, browser: Chrome
) -> None:
    with browsing((390, 844), touch=True) as phone:
        open_tab(phone, address, "light")
        path = phone.find_element(By.CSS_SELECTOR, "#lycoris_ext_folder textarea")
        fill(path, str(host.data / "runs" / "tilty"))
        phone.find_element(By.ID, "lycoris_ext_list").click()
        wait_for(phone, "document.querySelectorAll('#lycoris_ext_run_table table').length")
        for title in ("1 Pick", "2 Test", "3 Judge", "4 Use", "Train"):
            click_tab(phone, "#lycoris_ext_pages", title)
            wide = phone.execute_script(
                "return document.querySelector('#lycoris_ext_pages').scrollWidth"
            )
            assert wide <= 390, title


def test_nothing_of_ours_went_wrong_in_the_hosts_log(host: Webui) -> None:
    said = host.said()
    assert "webui_extension" not in said and "Error executing callback" not in said

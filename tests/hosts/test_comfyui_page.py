"""ComfyUI's own page: templates, locale and help as it serves them, and a run in a browser."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait

from comfy_nodes import NODE_CLASS_MAPPINGS
from tests.browser import browsing, wait_for
from tests.comfy_nodes.documents import EXAMPLES, PAGES
from tests.comfy_nodes.translations import LANGUAGES, is_current
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.comfyui import PACK, Server

pytestmark = pytest.mark.hosts

PICTURES = ROOT / "docs" / "images"

# The element in sight that holds a text and nothing else.
SHOWN = """[...document.querySelectorAll('*')].find(e => e.children.length === 0
  && e.textContent.trim() === '{}' && e.getBoundingClientRect().width)"""
INFO = """document.querySelector('[data-testid="info-button"]')"""
# As a user would set them for a minute on a CPU.
SMALLER = {
    "CheckpointLoaderSimple": {"ckpt_name": "random.safetensors"},
    "LycorisExtDatasetFolder": {"folder": "shapes", "resolution": 64, "num_repeats": 1},
    "LycorisExtTrainPreviews": {"sample_every_n_steps": 4, "sample_prompts": "a cat"},
    "LycorisExtTrainLora": {"output_name": "from_the_page", "max_train_steps": 8},
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 2},
}


def test_a_template_loads_shows_its_help_and_runs_on_comfyuis_page(
    server: Server, record_property: Any
) -> None:
    """A template loads without a missing node, its trainer shows its help, and the run ends with
    pictures on the canvas."""
    with browsing((2400, 1000)) as browser:
        browser.get(f"http://127.0.0.1:{server.port}/")
        wait_for(browser, "Boolean(window.app && app.graph && app.extensionManager)", 120)
        time.sleep(2)  # until it listens to commands
        browser.execute_script(
            "return app.extensionManager.command.execute('Comfy.BrowseTemplates')"
        )
        click_until(browser, SHOWN.format(PACK), SHOWN.format("train a style"))
        loaded = "app.graph._nodes.some(node => node.type === 'LycorisExtTrainLora')"
        click_until(browser, SHOWN.format("train a style"), loaded)
        kinds = browser.execute_script("return app.graph._nodes.map(node => node.type)")
        graph = json.loads((EXAMPLES / "train_a_style.json").read_text("utf-8"))
        assert sorted(kinds) == sorted(given["type"] for given in graph["nodes"])
        assert not browser.execute_script("return app.graph._nodes.some(node => node.has_errors)")
        assert "Missing Node" not in browser.execute_script("return document.body.innerText")

        # nodes that are small on the screen are drawn with their texts all the same
        browser.execute_script(
            "app.canvas.low_quality_zoom_threshold = app.canvas.min_font_size_for_lod = 0;"
            "app.extensionManager.command.execute('Comfy.Canvas.FitView')"
        )
        browser.execute_script(
            "app.canvas.selectNode(app.graph._nodes.find(n => n.type === 'LycorisExtTrainLora'))"
        )
        told = "document.body.innerText.includes('Cancel stops within one step')"
        click_until(browser, INFO, told)
        (PICTURES / "comfyui_help.png").write_bytes(browser.get_screenshot_as_png())
        browser.execute_script(f"return {INFO}").click()

        browser.execute_script(
            "for (const [kind, values] of Object.entries(arguments[0]))"
            " for (const [name, value] of Object.entries(values))"
            " app.graph._nodes.find(n => n.type === kind)"
            ".widgets.find(w => w.name === name).value = value",
            SMALLER,
        )
        browser.execute_script("app.queuePrompt(0)")
        shown = "app.graph._nodes.filter(n => ['PreviewImage', 'SaveImage'].includes(n.type))"
        wait_for(browser, f"{shown}.every(node => node.imgs && node.imgs.length)", 600)
        browser.execute_script("app.canvas.deselectAll()")
        for command in ("ToggleMinimap", "FitView"):
            browser.execute_script(
                f"app.extensionManager.command.execute('Comfy.Canvas.{command}')"
            )
        time.sleep(2)
        (PICTURES / "comfyui_workflow.png").write_bytes(browser.get_screenshot_as_png())
        record_property("nodes_on_the_page", len(kinds))


def click_until(browser: Chrome, element: str, then: str, limit: float = 60) -> None:
    """Click the element that a JavaScript expression finds, again and again until `then` is true:
    clicks on what still moves are missed at times."""

    def clicked(_: Chrome) -> bool:
        if browser.execute_script(f"return Boolean({then})"):
            return True
        found = browser.execute_script(f"return {element}")
        if found:
            found.click()
        return False

    missed = (
        ElementClickInterceptedException,
        ElementNotInteractableException,
        StaleElementReferenceException,
    )
    message = f"{element} did not lead to {then}"
    WebDriverWait(browser, limit, 1, missed).until(clicked, message)


@pytest.mark.parametrize("link", [True, False], ids=["linked", "copied"])
def test_templates_locale_and_help_are_served(
    comfyui: Checkout, tmp_path: Path, link: bool
) -> None:
    with Server(comfyui, tmp_path, link) as running:
        names = {path.stem for path in EXAMPLES.glob("*.json")}
        assert set(running.get("/workflow_templates")[PACK]) == names
        for name in names:
            graph = running.get(f"/api/workflow_templates/{PACK}/{name}.json")
            kinds = {given["type"] for given in graph["nodes"]}
            assert kinds <= set(running.get("/object_info"))
        current = {name for name, node in NODE_CLASS_MAPPINGS.items() if is_current(node)}
        told = running.get("/i18n")
        assert set(told) >= {"en", *LANGUAGES}
        for language in ("en", *LANGUAGES):
            assert current <= set(told[language]["nodeDefs"]), language
        for name in current:
            page = running.get(f"/extensions/{PACK}/docs/{name}.md")
            text = page.decode("utf-8") if isinstance(page, bytes) else page
            assert text.replace("\r\n", "\n") == (PAGES / f"{name}.md").read_text("utf-8")

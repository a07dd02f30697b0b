"""ComfyUI's own page: templates, locale and help as it serves them, and a run in a browser."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from comfy_nodes import NODE_CLASS_MAPPINGS
from tests.comfy_nodes.documents import EXAMPLES, PAGES
from tests.hosts.browser import Page
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.comfyui import PACK, Server

pytestmark = pytest.mark.hosts

PICTURES = ROOT / "docs" / "images"

TEXT_AT = """(text => {
  const found = [...document.querySelectorAll('*')].filter(e => e.children.length === 0
    && e.textContent.trim() === text && e.getBoundingClientRect().width > 0);
  if (!found.length) return null;
  found[0].scrollIntoView();
  const box = found[0].getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})"""
BUTTON_AT = """(name => {
  const button = document.querySelector(`[data-testid="${name}"]`);
  if (!button) return null;
  const box = button.getBoundingClientRect();
  return box.width ? [box.x + box.width / 2, box.y + box.height / 2] : null;
})"""
# As a user would set them for a minute on a CPU.
SMALLER = {
    "CheckpointLoaderSimple": {"ckpt_name": "random.safetensors"},
    "LycorisExtDataset": {"folder": "shapes", "resolution": 64, "num_repeats": 1},
    "LycorisExtTrain": {
        "output_name": "from_the_page",
        "max_train_steps": 4,
        "sample_every_n_steps": 2,
        "sample_prompts": "a cat",
        "sample_steps": 2,
    },
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 2},
}


def test_the_page(server: Server, record_property: Any) -> None:
    """A template loads without a missing node, its trainer shows its help, and the run ends with
    pictures on the canvas."""
    with Page(f"http://127.0.0.1:{server.port}/", (2400, 1100)) as page:
        page.wait_for("Boolean(window.app && app.graph && app.extensionManager)")
        time.sleep(2)  # until it listens to commands
        page.run("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        page.click_until(f"{TEXT_AT}('{PACK}')", f"Boolean({TEXT_AT}('train a style'))")
        loaded = "app.graph._nodes.some(node => node.type === 'LycorisExtTrain')"
        page.click_until(f"{TEXT_AT}('train a style')", loaded)
        kinds = page.run("app.graph._nodes.map(node => node.type)")
        graph = json.loads((EXAMPLES / "train_a_style.json").read_text("utf-8"))
        assert sorted(kinds) == sorted(given["type"] for given in graph["nodes"])
        assert not page.run("app.graph._nodes.some(node => node.has_errors)")
        assert "Missing Node" not in page.run("document.body.innerText")

        select = "app.canvas.selectNode(app.graph._nodes.find(n => n.type === 'LycorisExtTrain'))"
        page.run(f"void {select}")
        told = "document.body.innerText.includes('Cancel stops within one step')"
        page.click_until(f"{BUTTON_AT}('info-button')", told)
        page.screenshot(PICTURES / "comfyui_help.png")
        page.click(*page.run(f"{BUTTON_AT}('info-button')"))

        for kind, values in SMALLER.items():
            for name, value in values.items():
                page.run(
                    f"app.graph._nodes.find(n => n.type === '{kind}').widgets"
                    f".find(w => w.name === '{name}').value = {json.dumps(value)}"
                )
        page.run("void app.queuePrompt(0)")
        shown = "app.graph._nodes.filter(n => ['PreviewImage', 'SaveImage'].includes(n.type))"
        page.wait_for(f"{shown}.every(node => node.imgs && node.imgs.length)", limit=600)
        page.run("void app.canvas.deselectAll()")
        page.run("app.canvas.low_quality_zoom_threshold = app.canvas.min_font_size_for_lod = 0")
        for command in ("ToggleMinimap", "FitView"):
            page.run(f"void app.extensionManager.command.execute('Comfy.Canvas.{command}')")
        time.sleep(2)
        page.screenshot(PICTURES / "comfyui_workflow.png")
        record_property("nodes_on_the_page", len(kinds))


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
        told = running.get("/i18n")["en"]["nodeDefs"]
        assert set(NODE_CLASS_MAPPINGS) <= set(told)
        for name in NODE_CLASS_MAPPINGS:
            page = running.get(f"/extensions/{PACK}/docs/{name}.md")
            text = page.decode("utf-8") if isinstance(page, bytes) else page
            assert text.replace("\r\n", "\n") == (PAGES / f"{name}.md").read_text("utf-8")

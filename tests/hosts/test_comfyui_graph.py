"""The graph on ComfyUI's own page: example and saved workflows, the search, other languages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By

from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from tests.browser import browsing, fill, wait_for
from tests.comfy_nodes.documents import DEFINITIONS, EXAMPLES, LOCALES
from tests.comfy_nodes.test_saved_workflows import SAVED
from tests.comfy_nodes.translations import LANGUAGES, is_current
from tests.hosts.checkouts import Checkout
from tests.hosts.comfyui import Server

pytestmark = pytest.mark.hosts

READY = "Boolean(window.app && app.graph && app.extensionManager)"
# Each node as [type, left, top, width, height], its title included.
BOXES = """return app.graph._nodes.map(n => [n.type, n.pos[0],
  n.pos[1] - LiteGraph.NODE_TITLE_HEIGHT, n.size[0], n.size[1] + LiteGraph.NODE_TITLE_HEIGHT])"""
# Each node as [id, [[name, value] of each widget]]: WebDriver sorts the names of an object.
WIDGETS = """return app.graph._nodes.map(n =>
  [n.id, (n.widgets || []).map(w => [w.name, w.value])])"""
FOUND = """return [...document.querySelectorAll('[role=option]')]
  .map(e => e.innerText.split('\\n')[0].trim())"""
# Nodes whose search, title or category a user would begin with, by what is typed.
SEARCHES = {
    "lora": ("LycorisExtLoadLora", "LycorisExtTrainLora", "LycorisExtCompareLoras"),
    "loha": ("LycorisExtLoadLora", "LycorisExtTrainLora", "LycorisExtTrainNetwork"),
    "train": ("LycorisExtTrainLora", "LycorisExtTrainOptimizer", "LycorisExtDatasetFolder"),
}


@pytest.fixture(scope="module")
def page(comfyui: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The page in a browser; its ComfyUI has a file of LoRA and no checkpoint."""
    folder = tmp_path_factory.mktemp("comfyui")
    (folder / "models" / "loras" / "people").mkdir(parents=True)
    (folder / "models" / "loras" / "people" / "mine.safetensors").touch()
    with Server(comfyui, folder) as server, browsing((2400, 1100)) as browser:
        opened(browser, f"http://127.0.0.1:{server.port}/")
        yield browser


def opened(page: Chrome, address: str) -> None:
    page.get(address)
    wait_for(page, READY, 180)
    time.sleep(2)  # until it listens to commands


def loaded(page: Chrome, graph: dict[str, Any]) -> None:
    """Load a workflow as the page loads a file of the user's."""
    page.execute_script("return app.loadGraphData(arguments[0], true, true, 'loaded')", graph)
    wait_for(page, f"app.graph._nodes.length === {len(graph['nodes'])}")
    time.sleep(1)
    assert not page.execute_script("return app.graph._nodes.filter(n => n.has_errors).length")
    assert not page.execute_script(
        "return [...document.querySelectorAll('[role=dialog]')].map(e => e.innerText)"
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_template_loads_with_its_values_and_no_node_covers_another(
    page: Chrome, path: Any
) -> None:
    graph = json.loads(path.read_text("utf-8"))
    loaded(page, graph)
    boxes = page.execute_script(BOXES)
    covered = [
        (one[0], other[0])
        for number, one in enumerate(boxes)
        for other in boxes[number + 1 :]
        if all(one[n] < other[n] + other[n + 2] and other[n] < one[n] + one[n + 2] for n in (1, 2))
    ]
    assert covered == []
    shown = dict(page.execute_script(WIDGETS))
    for node in graph["nodes"]:
        values = [value for _, value in shown[node["id"]]]
        saved = node.get("widgets_values", [])
        assert values[: len(saved)] == saved, node["type"]


def test_a_workflow_of_0_1_0_gets_each_value_back_and_sends_it(page: Chrome) -> None:
    nodes = [
        {
            "id": number,
            "type": kind,
            "pos": [400 * number, 0],
            "size": [330, 200],
            "flags": {},
            "order": number,
            "mode": 0,
            "inputs": [
                {"name": name, "type": t, "link": None} for name, t in told["links"].items()
            ],
            "outputs": [{"name": name, "type": t, "links": []} for name, t in told["outputs"]],
            "properties": {"Node name for S&R": kind},
            "widgets_values": list(told["widgets"].values()),
        }
        for number, (kind, told) in enumerate(SAVED.items(), 1)
    ]
    loaded(page, {"nodes": nodes, "links": [], "groups": [], "version": 0.4})
    shown = dict(page.execute_script(WIDGETS))
    sent = page.execute_script("return app.graphToPrompt().then(prompt => prompt.output)")
    for number, (kind, told) in enumerate(SAVED.items(), 1):
        for found in (dict(shown[number]), sent[str(number)]["inputs"]):
            assert {name: found[name] for name in told["widgets"]} == told["widgets"], kind


def test_the_search_finds_the_nodes_and_none_of_0_1_0(page: Chrome) -> None:
    page.execute_script("app.graph.clear()")
    canvas = page.find_element(By.ID, "graph-canvas")
    ActionChains(page).move_to_element_with_offset(canvas, 400, 200).double_click().perform()
    old = {
        NODE_DISPLAY_NAME_MAPPINGS[name]
        for name, node in NODE_CLASS_MAPPINGS.items()
        if not is_current(node)
    }
    wait_for(page, "document.activeElement.tagName === 'INPUT'")
    field = page.switch_to.active_element
    for word, nodes in SEARCHES.items():
        fill(field, word)
        time.sleep(2)  # it searches a moment after the last letter
        names = page.execute_script(FOUND)
        wanted = {NODE_DISPLAY_NAME_MAPPINGS[name] for name in nodes}
        assert wanted <= set(names), (word, names)
        assert not old & set(names), word


@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_have_the_names_of_the_pages_language(page: Chrome, language: str) -> None:
    """German is not in today's list, but it is the page's language where the browser is German."""
    told = json.loads((LOCALES / language / DEFINITIONS).read_text("utf-8"))
    choose = "return app.extensionManager.setting.set('Comfy.Locale', arguments[0])"
    page.execute_script(choose, language)
    opened(page, page.current_url)
    try:
        shown = page.execute_script(
            """return Object.fromEntries(arguments[0].map(kind => {
              const node = LiteGraph.createNode(kind)
              const names = (node.widgets || []).map(w => [w.name, w.label])
              return [kind, [node.title, Object.fromEntries(names)]]
            }))""",
            list(told),
        )
    finally:
        page.execute_script(choose, "en")
    for kind, (title, names) in shown.items():
        assert title == _plain(told[kind]["display_name"])
        labels = {name: _plain(told[kind]["inputs"][name]["name"]) for name in names}
        assert names == labels, kind


def _plain(text: str) -> str:
    """Undo what keeps signs of vue-i18n's own syntax as they are."""
    return text.replace("{'", "").replace("'}", "")

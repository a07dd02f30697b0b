"""Writes what ComfyUI reads beside the nodes: locale, the tables of the help pages, workflows.

`python -m tests.comfy_nodes.documents` writes them anew; a test says when that is due.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pages import cell, filled, table, write
from tests.comfy_nodes.stand_ins import inside_comfyui
from tests.comfy_nodes.translations import LANGUAGES, inputs_of, is_current, locale
from tests.comfy_nodes.translations import table as table_of
from tests.comfy_nodes.widget_orders import PATH, moved, orders, published
from tests.comfy_nodes.workflows import WORKFLOWS, as_graph
from tests.config.documents import optimizers_as_table

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "comfy_nodes" / "web" / "docs"
LOCALES, DEFINITIONS = ROOT / "locales", "nodeDefs.json"
EXAMPLES = ROOT / "example_workflows"
BEGIN = "<!-- inputs and outputs: written by tests.comfy_nodes.documents -->"
END = "<!-- end of inputs and outputs -->"


def documents() -> dict[Path, str]:
    """Return every file that is written from the nodes, with the text that it should hold."""
    with tempfile.TemporaryDirectory() as folder, inside_comfyui(Path(folder)):
        from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

        nodes, names = NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
        files = {LOCALES / "en" / DEFINITIONS: _json(locale(nodes, names)), PATH: _orders(nodes)}
        for language in LANGUAGES:
            told = locale(nodes, names, table_of(language))
            files[LOCALES / language / DEFINITIONS] = _json(told)
        for name, node in nodes.items():
            if is_current(node):
                page = PAGES / f"{name}.md"
                text = page.read_text("utf-8") if page.is_file() else _new_page(names[name], node)
                files[page] = filled(text, BEGIN, END, _tables(node))
        for name, graph in WORKFLOWS.items():
            files[EXAMPLES / f"{name}.json"] = _json(as_graph(graph, nodes))
    return files


def _orders(nodes: dict[str, Any]) -> str:
    now = orders(nodes)
    if PATH.is_file() and (faults := moved(published(), now)):
        raise SystemExit("\n".join(["saved workflows would be read wrongly:", *faults]))
    return _json(now)


def _new_page(name: str, node: Any) -> str:
    return f"# {name}\n\n{node.DESCRIPTION}\n\n{BEGIN}\n{END}\n"


def _tables(node: Any) -> str:
    inputs = [
        (f"{settings['display_name']}", f"`{name}`",
         "choice" if isinstance(kind, list) else str(kind), _default(settings),
         cell(settings["tooltip"].removesuffix(f" ({name})")))
        for name, (kind, settings) in inputs_of(node).items()
    ]  # fmt: skip
    outputs = [
        (f"`{name}`", kind, tooltip)
        for name, kind, tooltip in zip(
            node.RETURN_NAMES, node.RETURN_TYPES, node.OUTPUT_TOOLTIPS, strict=True
        )
    ]
    heads = ("on the node", "in files", "type", "default", "")
    lines = ["## Inputs", "", *table(heads, inputs), ""]
    if "optimizer_type" in inputs_of(node):
        lines += ["## Optimizers", "", *optimizers_as_table(), ""]
    return "\n".join([*lines, "## Outputs", "", *table(("output", "type", ""), outputs)])


def _default(settings: dict[str, Any]) -> str:
    default = settings.get("default", "")
    return f"`{default}`" if default not in ("", None) else ""


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write(documents())

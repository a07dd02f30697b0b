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
from tests.comfy_nodes.workflows import WORKFLOWS, as_graph
from tests.config.documents import optimizers_as_table

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "comfy_nodes" / "web" / "docs"
LOCALE = ROOT / "locales" / "en" / "nodeDefs.json"
EXAMPLES = ROOT / "example_workflows"
BEGIN = "<!-- inputs and outputs: written by tests.comfy_nodes.documents -->"
END = "<!-- end of inputs and outputs -->"


def documents() -> dict[Path, str]:
    """Return every file that is written from the nodes, with the text that it should hold."""
    with tempfile.TemporaryDirectory() as folder, inside_comfyui(Path(folder)):
        from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

        files = {LOCALE: _json(_locale(NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS))}
        for name, node in NODE_CLASS_MAPPINGS.items():
            page = PAGES / f"{name}.md"
            files[page] = filled(page.read_text("utf-8"), BEGIN, END, _tables(node))
        for name, nodes in WORKFLOWS.items():
            files[EXAMPLES / f"{name}.json"] = _json(as_graph(nodes, NODE_CLASS_MAPPINGS))
    return files


def _inputs(node: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    given = node.INPUT_TYPES()
    return {**given["required"], **given["optional"]}


def _locale(nodes: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {
        name: {
            "display_name": names[name],
            "description": node.DESCRIPTION,
            "inputs": {
                key: {"name": key, "tooltip": settings["tooltip"]}
                for key, (_, settings) in _inputs(node).items()
            },
            "outputs": {
                str(number): {"name": output, "tooltip": tooltip}
                for number, (output, tooltip) in enumerate(
                    zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True)
                )
            },
        }
        for name, node in nodes.items()
    }


def _tables(node: Any) -> str:
    inputs = [
        (f"`{name}`", "choice" if isinstance(kind, list) else str(kind), _default(settings),
         cell(settings["tooltip"]))
        for name, (kind, settings) in _inputs(node).items()
    ]  # fmt: skip
    outputs = [
        (f"`{name}`", kind, tooltip)
        for name, kind, tooltip in zip(
            node.RETURN_NAMES, node.RETURN_TYPES, node.OUTPUT_TOOLTIPS, strict=True
        )
    ]
    lines = ["## Inputs", "", *table(("input", "type", "default", ""), inputs), ""]
    if "optimizer_type" in _inputs(node):
        lines += ["## Optimizers", "", *optimizers_as_table(), ""]
    return "\n".join([*lines, "## Outputs", "", *table(("output", "type", ""), outputs)])


def _default(settings: dict[str, Any]) -> str:
    default = settings.get("default", "")
    return f"`{default}`" if default not in ("", None) else ""


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write(documents())

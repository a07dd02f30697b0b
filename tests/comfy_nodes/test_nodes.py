"""What ComfyUI and its users see of the nodes, and the files that are written from them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from tests.comfy_nodes.documents import EXAMPLES, ROOT, documents
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.workflows import WORKFLOWS, as_api

NODES = pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)

# ComfyUI's own top-level modules: a node pack must not hide them, nor they it.
TAKEN = ("nodes", "server", "execution", "folder_paths", "utils", "app", "comfy", "protocol")


@NODES
def test_every_input_and_output_of_a_node_has_a_tooltip(name: str, host: Host) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    given = node.INPUT_TYPES()
    for key, (_, settings) in {**given["required"], **given["optional"]}.items():
        assert settings.get("tooltip"), key
        assert settings["tooltip"].strip()[0] == settings["tooltip"][0].upper() or '"' in key
    assert node.DESCRIPTION and node.CATEGORY == "LyCORIS"
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
    assert NODE_DISPLAY_NAME_MAPPINGS[name].startswith("LyCORIS ")


@NODES
def test_the_default_of_a_widget_is_one_of_its_values(name: str, host: Host) -> None:
    given = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    for key, (kind, settings) in {**given["required"], **given["optional"]}.items():
        default = settings.get("default")
        if isinstance(kind, list) and default is not None:
            assert default in kind, key
        if kind in ("INT", "FLOAT") and "default" in settings:
            assert settings["min"] <= default <= settings["max"], key
            assert isinstance(default, int if kind == "INT" else float), key
        if kind == "INT" and key == "seed":
            assert settings.get("control_after_generate") is False  # it would train again and again


@NODES
def test_the_function_of_a_node_takes_exactly_its_inputs(name: str, host: Host) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    function = inspect.signature(getattr(node, node.FUNCTION))
    kinds = {key: p.kind for key, p in function.parameters.items() if key != "self"}
    named = {key for key, kind in kinds.items() if kind is not inspect.Parameter.VAR_KEYWORD}
    inputs = {key for group in node.INPUT_TYPES().values() for key in group}
    assert named <= inputs
    assert named == inputs or len(named) < len(kinds), "nobody takes the other inputs"


def test_locale_help_pages_and_workflows_are_up_to_date_with_the_nodes() -> None:
    for path, text in documents().items():
        assert path.read_text("utf-8") == text, (
            f"{path.relative_to(ROOT)} is out of date: run python -m tests.comfy_nodes.documents"
        )


def test_every_node_has_a_help_page() -> None:
    pages = {path.stem for path in (ROOT / "comfy_nodes" / "web" / "docs").glob("*.md")}
    assert pages == set(NODE_CLASS_MAPPINGS)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_example_workflows_link_only_inputs_and_outputs_that_the_nodes_have(
    name: str, host: Host
) -> None:
    graph = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for number, source, output, target, slot, kind in graph["links"]:
        assert nodes[source]["outputs"][output]["type"] == kind
        wanted = nodes[target]["inputs"][slot]
        assert wanted["link"] == number and wanted["type"] in (kind, "*")
    for node in graph["nodes"]:
        ours = NODE_CLASS_MAPPINGS.get(node["type"])
        if ours is None:
            continue
        required = {
            key
            for key, (kind, _) in ours.INPUT_TYPES()["required"].items()
            if not isinstance(kind, list) and kind not in ("INT", "FLOAT", "STRING", "BOOLEAN")
        }
        linked = {given["name"] for given in node["inputs"] if given["link"] is not None}
        assert required <= linked, node["type"]
    assert as_api(WORKFLOWS[name], NODE_CLASS_MAPPINGS)


def test_no_module_at_the_root_hides_one_of_comfyui() -> None:
    assert not [name for name in TAKEN if (ROOT / f"{name}.py").exists()]
    assert not [name for name in TAKEN if (ROOT / name).exists()]
    assert not (ROOT / "install.py").exists() and not (ROOT / "requirements.txt").exists()


def test_comfyui_loads_the_pack_without_diffusers_and_the_others_that_it_lacks(
    tmp_path: Path,
) -> None:
    """ComfyUI gives the module a name that is no identifier."""
    code = """
import importlib.util, sys, types
for name in ("diffusers", "transformers", "accelerate", "bitsandbytes", "tyro", "pydantic", "tqdm"):
    sys.modules[name] = None
sys.modules["folder_paths"] = types.ModuleType("folder_paths")
spec = importlib.util.spec_from_file_location("/a b/c_x_d", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
print(len(module.NODE_CLASS_MAPPINGS), module.WEB_DIRECTORY)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "__init__.py")],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.split() == [str(len(NODE_CLASS_MAPPINGS)), "./comfy_nodes/web"]

"""What ComfyUI and its users see of the nodes, and the files that are written from them."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from comfy_nodes.advanced import MOST
from lycoris_ext.config import all_options
from lycoris_ext.formats.toml_text import read_tables
from tests.comfy_nodes.documents import BEGIN, END, EXAMPLES, PAGES, ROOT, documents
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.thumbnails import SIZE, THUMBNAILS
from tests.comfy_nodes.translations import LANGUAGES, faults, inputs_of, is_current
from tests.comfy_nodes.widget_orders import widgets_of
from tests.comfy_nodes.workflows import WORKFLOWS, as_api

NODES = pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)

# ComfyUI's own top-level modules: a node pack must not hide them, nor they it.
TAKEN = ("nodes", "server", "execution", "folder_paths", "utils", "app", "comfy", "protocol")

TRANSLATED = {"zh", "ja", "ko", "ru", "fr", "de", "es"}
CUT = ("resolution", "train_batch_size", "num_repeats", "enable_bucket", "shuffle_caption")
LEFT_OUT = {
    name: why
    for why, names in {
        "the connected model, VAE and CLIP say it": "pretrained_model_name_or_path vae v2 "
        "v_parameterization zero_terminal_snr clip_skip device base_weights "
        "base_weights_multiplier",
        "ComfyUI reads captions as it reads prompts": "weighted_captions",
        "widgets of the nodes' own say it": "train_data_dir image_dir reg_data_dir output_dir "
        "sample_sampler network_train_unet_only network_train_text_encoder_only",
        "latents and captions stay in memory": "cache_dir cache_limit_gb cache_latents_to_disk "
        "cache_text_encoder_outputs cache_text_encoder_outputs_to_disk caption_variants "
        "max_data_loader_n_workers",
        "tables are for config files": "overrides subsets in_json",
        "caption sets are made and compared in the terminal": "caption_set caption_mode "
        "tag_list_dropout_rate caption_fields level_rules",
        "it differs between the folders of a config file": "loss_weight",
        "pictures of other nodes have no files of the same names": "conditioning_data_dir "
        "masked_loss",
        "the VAE would have to stay loaded": "random_crop color_aug face_crop_aug_range",
        "for other programs' configs": "left_out",
        "classes of Python are for config files": "lr_scheduler_type lr_scheduler_args",
        "distributions of timesteps are for config files": "timestep_distribution noising_weight "
        "noising_bias timestep_shift",
        "for the terminal": "silence log_with logging_dir save_state_every_n_seconds "
        "save_state_every_n_steps dim_from_weights validation_split validation_seed "
        "validate_every_n_steps validate_every_n_epochs max_validation_steps",
        "tools that merge files and draw pictures write them": "metadata_merged_from "
        "metadata_thumbnail",
    }.items()
    for name in names.split()
}
"""Options without a widget, and why."""


@NODES
def test_every_input_and_output_of_a_node_has_a_tooltip(name: str, host: Host) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    given = node.INPUT_TYPES()
    for key, (_, settings) in {**given["required"], **given["optional"]}.items():
        assert settings.get("tooltip"), key
        assert settings["tooltip"].strip()[0] == settings["tooltip"][0].upper() or '"' in key
        assert settings["display_name"], key
        if settings.get("multiline"):
            assert settings["placeholder"] == settings["display_name"], "nothing else names it"
    assert node.DESCRIPTION and node.CATEGORY.startswith("LyCORIS/")
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
    assert NODE_DISPLAY_NAME_MAPPINGS[name].startswith("LyCORIS ")


@NODES
def test_a_node_has_at_most_eight_widgets(name: str, host: Host) -> None:
    """What is beyond belongs on an advanced node; a new option goes there by itself."""
    node = NODE_CLASS_MAPPINGS[name]
    if is_current(node):
        assert len(widgets_of(node)) <= MOST == 8


def test_every_option_is_on_one_node_or_left_out_on_purpose(host: Host) -> None:
    found = [
        option
        for node in NODE_CLASS_MAPPINGS.values()
        if is_current(node)
        for option in widgets_of(node)
        if option in all_options()
    ]
    counts = Counter(found)
    twice = {name for name, number in counts.items() if number > 1}
    assert twice == {*CUT, "caption_dropout_rate"}, "those that all dataset nodes have"
    assert set(all_options()) - set(found) == LEFT_OUT.keys()


def test_the_search_finds_the_nodes_by_what_they_are_for() -> None:
    names = [
        NODE_DISPLAY_NAME_MAPPINGS[name].lower()
        for name, node in NODE_CLASS_MAPPINGS.items()
        if is_current(node)
    ]
    for word, least in (("lora", 10), ("loha", 3), ("train", 5), ("load lora", 1), ("grid", 1)):
        assert sum(word in name for name in names) >= least, word


@NODES
def test_a_tooltip_is_written_for_a_widget(name: str, host: Host) -> None:
    """It says what the widget shows and calls other widgets as the page does."""
    node = NODE_CLASS_MAPPINGS[name]
    if not is_current(node):
        return
    for key, (_, settings) in inputs_of(node).items():
        text = settings["tooltip"].removesuffix(f" ({key})")
        assert not re.search(r"\bunset\b|config file|command line|``", text, re.IGNORECASE), text
        ids = set(re.findall(r"\b[a-z]+[0-9]*(?:_[a-z0-9]+)+\b", text)) & set(all_options())
        assert not ids, text


def test_the_nodes_speak_the_languages_of_most_users() -> None:
    assert set(LANGUAGES) >= TRANSLATED


def test_an_installed_package_brings_every_language() -> None:
    """ComfyUI reads them from a clone, and the command to install from the wheel's data files."""
    project = read_tables((ROOT / "pyproject.toml").read_text("utf-8"))
    brought = project["tool"]["setuptools"]["data-files"]
    for language in TRANSLATED | set(LANGUAGES) | {"en"}:
        assert brought[f"share/lycoris_ext/locales/{language}"] == [f"locales/{language}/*.json"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_the_nodes_is_translated(language: str) -> None:
    assert faults(language) == []


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
    needed = {key for key in named if function.parameters[key].default is inspect.Parameter.empty}
    assert (named if is_current(node) else needed) <= inputs
    assert inputs <= named or len(named) < len(kinds), "nobody takes the other inputs"


def test_locale_help_pages_and_workflows_are_up_to_date_with_the_nodes() -> None:
    for path, text in documents().items():
        assert path.read_text("utf-8") == text, (
            f"{path.relative_to(ROOT)} is out of date: run python -m tests.comfy_nodes.documents"
        )


def test_every_node_has_a_help_page() -> None:
    pages = {path.stem for path in (ROOT / "comfy_nodes" / "web" / "docs").glob("*.md")}
    assert pages == {name for name, node in NODE_CLASS_MAPPINGS.items() if is_current(node)}


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_a_help_page_calls_widgets_as_the_page_does(path: Path) -> None:
    text = path.read_text("utf-8")
    prose = text[: text.index(BEGIN)] + text[text.index(END) :]
    assert not set(re.findall(r"[a-z]+[0-9]*(?:_[a-z0-9]+)+", prose)) & set(all_options())
    if "Advanced" in text.splitlines()[0]:
        assert "Connect its output to the input `advanced` of *" in prose


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


def test_every_example_workflow_has_a_picture_and_a_name_that_fits_its_card() -> None:
    """The card is 256 pixels wide, and a name with underscores is one word there."""
    for path in EXAMPLES.glob("*.json"):
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert picture.size == SIZE, path.stem
        assert len(path.stem) <= 20
    assert {path.stem for path in EXAMPLES.glob("*.jpg")} == set(WORKFLOWS) == set(THUMBNAILS)


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

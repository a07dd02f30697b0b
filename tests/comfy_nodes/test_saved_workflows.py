"""Workflows that were saved before: values of widgets by position, links of outputs by number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_nodes import NODE_CLASS_MAPPINGS
from comfy_nodes.deprecated import OldNetwork, OldOptimizer
from lycoris_ext.network import NetworkConfig
from lycoris_ext.training.optimizers import OptimizerConfig
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.widget_orders import moved, orders, published, widgets_of

SAVED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("saved_with_0_1_0.json").read_text("utf-8")
)
"""Each node of 0.1.0: its widgets in order, each with a value that is not its default."""
OF_0_1_0 = pytest.mark.parametrize("name", SAVED)


@OF_0_1_0
def test_each_value_of_a_workflow_of_0_1_0_gets_back_to_its_widget(name: str, host: Host) -> None:
    (host.loras / "people").mkdir()
    (host.loras / "people" / "mine.safetensors").touch()
    now = widgets_of(NODE_CLASS_MAPPINGS[name])
    saved = SAVED[name]["widgets"]
    by_position = dict(zip(now, saved.values(), strict=False))
    assert by_position == saved
    for key, value in saved.items():
        kind, settings = now[key]
        if isinstance(kind, list):
            assert value in kind, key
        elif kind in ("INT", "FLOAT"):
            assert settings["min"] <= value <= settings["max"], key
        else:
            assert isinstance(value, bool if kind == "BOOLEAN" else str), key


@OF_0_1_0
def test_links_of_a_workflow_of_0_1_0_lead_to_what_they_led_to(name: str, host: Host) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    given = node.INPUT_TYPES()
    kinds = {
        key: kind for group in ("required", "optional") for key, (kind, _) in given[group].items()
    }
    assert {key: kinds[key] for key in SAVED[name]["links"]} == SAVED[name]["links"]
    outputs = [list(pair) for pair in zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True)]
    assert outputs[: len(SAVED[name]["outputs"])] == SAVED[name]["outputs"]


def test_values_of_a_workflow_of_0_1_0_become_the_options_that_they_were(host: Host) -> None:
    saved = SAVED["LycorisExtNetwork"]["widgets"]
    chosen = {"algo": "lokr", "factor": 4, "conv_dim": 5, "use_tucker": True, "dropout": 0.01}
    (network,) = OldNetwork().describe(
        **{**_untouched(OldNetwork), **chosen, "include": saved["include"]}
    )
    made = NetworkConfig(**network)
    assert (made.algo, made.factor, made.conv_dim) == ("lokr", 4, 5)
    assert made.use_tucker and made.dropout == 0.01 and made.include == ("saved include",)
    (rates,) = OldOptimizer().describe(
        **{**_untouched(OldOptimizer), "unet_lr": 0.1, "weight_decay": 0.5}
    )
    own = {name: rates[name] for name in rates if name in OptimizerConfig.options()}
    assert OptimizerConfig(**own).unet_lr == 0.1 and OptimizerConfig(**own).weight_decay == 0.5


def _untouched(node: Any) -> dict[str, Any]:
    return {key: settings["default"] for key, (_, settings) in widgets_of(node).items()}


UNTOUCHED = {
    OldNetwork: [
        "loha", 8, 1.0, 4, 1.0, "full", False, False, False, False, 0.0, 0.0, 0.0, -1, False, False,
        False, False, False, False, 0.0, False, 4, "", "",
    ],
    OldOptimizer: [
        "AdamW", 2e-4, "constant", 0.0, -1.0, -1.0, 0.0, 0.01, 0.9, 0.999, 1.0, 0.0, 0.0, 1, 1.0,
        0.0, 0.0, "l2", "snr", 0.1, 0.0, False, 0.0, 0, 0.0, 0, 1000, 1.0,
    ],
}  # fmt: skip
"""The values of untouched nodes by position, as ComfyUI wrote them into workflows."""


@pytest.mark.parametrize("node", UNTOUCHED, ids=lambda node: node.__name__)
def test_untouched_nodes_of_0_1_0_mean_what_they_meant(host: Host, node: Any) -> None:
    now = _untouched(node)
    saved = dict(zip(now, UNTOUCHED[node], strict=False))
    assert node().describe(**{**now, **saved}) == node().describe(**now)


def test_files_that_train_writes_change_the_old_grid_alone(host: Host) -> None:
    """The grid of 0.1.0 names files by a pattern; that of today gets them from Train's output."""
    old = NODE_CLASS_MAPPINGS["LycorisExtCompareGrid"]
    before = old.IS_CHANGED(files="run-step-*")
    (host.loras / "run-step-1.safetensors").touch()
    assert old.IS_CHANGED(files="run-step-*") != before
    assert not hasattr(NODE_CLASS_MAPPINGS["LycorisExtCompareLoras"], "IS_CHANGED")


def test_no_widget_or_output_of_a_published_node_moved(host: Host) -> None:
    assert moved(published(), orders(NODE_CLASS_MAPPINGS)) == []


def test_a_widget_that_is_put_between_others_is_noticed() -> None:
    before = {"A": {"widgets": ["x", "y"], "outputs": ["o"]}}
    assert moved(before, {"A": {"widgets": ["x", "y", "z"], "outputs": ["o", "p"]}}) == []
    for widgets in (["x", "z", "y"], ["x"], ["y", "x"], ["x", "renamed"]):
        assert moved(before, {"A": {"widgets": widgets, "outputs": ["o"]}}) != []
    assert len(moved(before, {})) == 2

"""Errors reach the page in its own words."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from comfy_nodes.messages import places, worded
from comfy_nodes.wording import name_of
from lycoris_ext.config import all_options
from lycoris_ext.errors import ConfigError, DataError, LycorisExtError, together
from lycoris_ext.training.claim import START_OVER
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.translations import is_current
from tests.comfy_nodes.widget_orders import widgets_of


@pytest.fixture
def where(host: Host) -> dict[str, str]:
    return places(NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)


def run(name: str, **values: Any) -> Any:
    """Run a node as ComfyUI does, with the defaults of the widgets that are not given."""
    node = NODE_CLASS_MAPPINGS[name]
    usual = {key: settings.get("default", "") for key, (_, settings) in widgets_of(node).items()}
    return getattr(node(), node.FUNCTION)(**{**usual, **values})


def test_an_error_names_the_widget_and_the_node_that_has_it(host: Host) -> None:
    (advanced,) = run("LycorisExtNetworkScaling", wd_on_output=True)
    with pytest.raises(ConfigError) as told:
        run("LycorisExtTrainNetwork", advanced=advanced)
    text = str(told.value)
    assert '"DoRA of output channels"' in text and '"DoRA"' in text
    assert (
        '"DoRA of output channels" (wd_on_output), "DoRA" (dora_wd): '
        "on the node LyCORIS Network Advanced: DoRA, Scaling" in text
    )


def test_nodes_of_0_1_0_name_the_options_that_they_show(host: Host) -> None:
    with pytest.raises(ConfigError, match=r'^[^"]*wd_on_output[^"]*$'):
        run("LycorisExtNetwork", wd_on_output=True)


def test_every_option_with_a_widget_is_named_by_it(where: dict[str, str]) -> None:
    for name, node in where.items():
        text = str(worded(ConfigError("wrong", where=name), where))
        assert text.startswith(f"{name_of(name)}: wrong")
        assert text.endswith(f'"{name_of(name)}" ({name}): on the node {node}')
        if "_" in name:
            text = str(worded(DataError(f"{name} is 5", fix=f"set {name} = 1"), where))
            assert text.count(f'"{name_of(name)}"') == 3 and text.count(name) == 1


def test_every_node_with_a_widget_of_an_option_is_named(host: Host, where: dict[str, str]) -> None:
    for name, node in NODE_CLASS_MAPPINGS.items():
        if is_current(node):
            for option in widgets_of(node).keys() & all_options().keys():
                assert NODE_DISPLAY_NAME_MAPPINGS[name] in where[option].split(" or "), option


def test_several_errors_stay_one_list_and_each_node_is_named_once(where: dict[str, str]) -> None:
    both = together(
        [
            ConfigError("network_dim is 0, expected 1 or more", where="this workflow"),
            ConfigError("algo 'x' is not supported", fix="change algo, or network_dim"),
        ]
    )
    told = worded(both, where)
    assert isinstance(told, ConfigError) and len(told.parts) == 2
    assert str(told) == (
        "2 things are wrong:\n"
        '1. this workflow: "rank" is 0, expected 1 or more\n'
        "2. \"algorithm\" 'x' is not supported\n"
        '     -> change "algorithm", or "rank"\n'
        '"rank" (network_dim), "algorithm" (algo): on the node LyCORIS Network (LoRA, LoHa, LoKr)'
    )


@pytest.mark.parametrize(
    "text",
    [
        "/loras/noise_offset.safetensors: no such file",
        "C:\\loras\\noise_offset\\a.png: broken",
        "noise_offset.safetensors: damaged",
        "cache_latents_to_disk has no widget",
        "the seed and the dropout of layers",
    ],
)
def test_files_and_common_words_are_left_alone(text: str, where: dict[str, str]) -> None:
    error: LycorisExtError = DataError(text, fix="look at it")
    assert worded(error, where) is error


def test_a_flag_of_the_command_line_is_told_as_the_choice_of_a_widget(
    where: dict[str, str],
) -> None:
    text = str(worded(ConfigError("other options", fix=START_OVER), where))
    assert "--" not in text and 'start over with "if the file exists" set to overwrite' in text
    alone = worded(ConfigError("taken", fix="use --overwrite"), where)
    assert str(alone) == 'taken\n  -> use "if the file exists" set to overwrite'

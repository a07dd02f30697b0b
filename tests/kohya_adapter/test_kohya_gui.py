"""What the kohya_ss GUI writes: its types with its presets, and errors in the words of its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from kohya_adapter.gui_words import FIELDS, in_gui_words
from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.kohya import create_network
from lycoris_ext.network import NetworkConfig
from tests.hosts.inside.model_trees import model_of
from tests.kohya_gui import GUI_ARGUMENTS, GUI_PRESETS
from tests.kohya_models import Models, create, tiny_models
from tests.oracles.sd_scripts_models import FILE

Pair = tuple[nn.Module, nn.Module]


@pytest.fixture(scope="module")
def sd1() -> Pair:
    """SD1 in its real sizes, without weights."""
    text_encoder, unet = map(model_of, json.loads(FILE.read_text(encoding="utf-8"))["sd1"]["trees"])
    return text_encoder, unet


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return tiny_models(tmp_path_factory.mktemp("models"))


def written(algo: str, **more: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in GUI_ARGUMENTS[algo].split()) | more


#: Convolution Rank is 1 unless it is changed, and these split the widths of layers by it.
SPLITTING = {"diag-oft": 8, "boft": 16}


@pytest.mark.parametrize("algo", GUI_ARGUMENTS)
def test_every_lycoris_type_works_with_a_convolution_rank_of_1_or_names_the_field(
    sd1: Pair, algo: str
) -> None:
    def made(rank: int, conv: int) -> Any:
        given = written(algo, conv_dim=str(conv), dropout="")
        return create_network(1.0, rank, 1.0, None, *sd1, **given)

    if algo not in SPLITTING:
        assert len(made(8, 1).layers) == 354
        return
    with pytest.raises(ConfigError) as caught:
        made(8, 1)
    text = str(caught.value)
    assert 'conv_dim (kohya_ss: "Convolution Rank (Dimension)")' in text and "or more" in text
    assert ('network_dim (kohya_ss: "Network Rank (Dimension)")' in text) == (algo == "boft")
    assert len(made(SPLITTING[algo], SPLITTING[algo]).layers) == 354


@pytest.mark.parametrize("algo", GUI_ARGUMENTS)
def test_every_lycoris_type_works_with_every_preset(models: Models, algo: str) -> None:
    for preset in (*GUI_PRESETS, "ia3"):
        network = create(models, 8, 1.0, **written(algo, preset=preset, conv_dim="8"))
        assert network.layers


@pytest.mark.parametrize("algo", GUI_ARGUMENTS)
def test_every_box_that_the_gui_shows_for_a_type_can_be_ticked(models: Models, algo: str) -> None:
    """DyLoRA and Diag-OFT have a box for Tucker, which LyCORIS does not read."""
    boxes = [name for name, text in written(algo).items() if text in ("False", "True")]
    for box in boxes:
        given = written(algo, conv_dim="8", **{box: "True"})
        try:
            create(models, 8, 1.0, **given)
        except ConfigError as error:
            label = FIELDS[box]
            assert f'kohya_ss: "{label}"' in str(error), error
            assert box == "bypass_mode", error


def test_the_labels_are_those_of_options() -> None:
    script = {"scale_weight_norms", "loraplus_lr_ratio", "save_precision", "output_dir"}
    assert FIELDS.keys() - script <= NetworkConfig.options().keys()


def test_an_option_of_another_algorithm_is_named_and_ignored(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kohya_adapter")
    other = {"factor": "8", "decompose_both": "True", "wd_on_output": "True", "constraint": "0.1"}
    network = create(models, algo="loha", **other)
    plain = create(models, algo="loha")
    assert network.state_dict().keys() == plain.state_dict().keys()
    for name, value in {"factor": "8", "decompose_both": "True", "constraint": "0.1"}.items():
        assert f"{name}={value} has no effect: algo=loha does not read it" in caplog.messages
    assert "wd_on_output has no effect without dora_wd=True" in caplog.messages


def test_dora_for_an_algorithm_without_it_stays_an_error(models: Models) -> None:
    with pytest.raises(ConfigError, match=r'dora_wd \(kohya_ss: "DoRA Weight Decompose"\)'):
        create(models, algo="diag-oft", dora_wd="True", preset="attn-only", dim=8)


def test_an_option_that_a_preset_file_gives_a_reader_has_its_effect(
    models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'unet_target_module = ["Transformer2DModel", "ResnetBlock2D"]\n'
        '[module_algo_map.Transformer2DModel]\nalgo = "lokr"\n',
        encoding="utf-8",
    )
    network = create(models, algo="loha", preset=str(path), factor="4", conv_dim="2")
    kron = [layer for layer in network.layers.values() if layer.plan.algorithm.name == "lokr"]
    assert kron and all("lokr_w1" in layer.tensors() for layer in kron)
    assert {layer.tensors()["lokr_w1"].shape[0] for layer in kron} == {4}


@pytest.mark.parametrize("folder", ["/loras", "C:\\loras", "/loras, old/a:b"])
def test_a_folder_that_cannot_be_written_is_told_in_the_guis_words(folder: str) -> None:
    with pytest.raises(EnvironmentFault) as refused, in_gui_words():
        raise EnvironmentFault("cannot be written", where=f"output_dir {folder}", fix="another")
    assert FIELDS["output_dir"] in str(refused.value)

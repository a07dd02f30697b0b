"""LyCORIS's preset files: the same layers, algorithms and ranks as lycoris-lora gives them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from lycoris import kohya

from lycoris_ext.config import OptionSource, build_config, dump_toml
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import LayerOverride, NetworkConfig, build_network
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.network.selection import select_layers
from tests.network.models import TextEncoder, UNet
from tests.reading import reading

NESTED = """
enable_conv = true
unet_target_module = ["Transformer2DModel", "ResnetBlock2D"]
unet_target_name = ["conv_in", "time_embedding.linear_1"]
exclude_name = ['down_blocks\\.1\\.resnets', 'mid_block.*to_q']
text_encoder_target_module = []
[module_algo_map.Transformer2DModel]
algo = "loha"
dim = 2
[module_algo_map.FeedForward]
algo = "lokr"
dim = 10000
factor = 4
[module_algo_map.GEGLU]
dim = 3
alpha = 2
[module_algo_map.ResnetBlock2D]
use_tucker = true
dim = 0
[name_algo_map.conv_in]
algo = "loha"
dim = 3
alpha = 0.5
"""
GLOBS = """
enable_conv = false
use_fnmatch = true
unet_target_module = []
unet_target_name = ["*.attn2.to_?", "*.conv1", "up_blocks.1.resnets.0.*"]
exclude_name = ["*.to_q"]
lora_prefix = "lycoris"
[module_algo_map.Linear]
dim = 3
[name_algo_map."*.attn2.to_k"]
dim = 2
[name_algo_map."*.to_?"]
algo = "loha"
"""


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )


def written(folder: Path, text: str) -> str:
    path = folder / "preset.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("text", [NESTED, GLOBS])
def test_a_preset_file_gives_the_network_that_lycoris_gives(
    unet: UNet2DConditionModel, tmp_path: Path, text: str
) -> None:
    path = written(tmp_path, text)
    theirs = {}
    for name in ("ENABLE_CONV", "MODULE_ALGO_MAP", "NAME_ALGO_MAP", "USE_FNMATCH",
                 "TARGET_EXCLUDE_NAME", "UNET_TARGET_REPLACE_MODULE",
                 "UNET_TARGET_REPLACE_NAME"):  # fmt: skip
        theirs[name] = getattr(kohya.LycorisNetworkKohya, name)
    try:  # its presets change the class for the rest of the process
        peer = kohya.create_network(1.0, 4, 1.0, None, [], unet, algo="lora", preset=path)
    finally:
        for name, value in theirs.items():
            setattr(kohya.LycorisNetworkKohya, name, value)
    expected = {
        lora.lora_name: (type(lora).__name__, lora.lora_dim, float(lora.alpha))
        for lora in peer.unet_loras
    }
    network = build_network({"unet": unet}, NetworkConfig(algo="locon", network_dim=4, preset=path))
    classes = {"lora": "LoConModule", "loha": "LohaModule", "lokr": "LokrModule"}
    found = {
        key: (classes[layer.plan.algorithm.name], layer.plan.rank, float(layer.plan.alpha))
        for key, layer in network.layers.items()
    }
    assert found == expected and len(found) >= 10
    for key, layer in network.layers.items():
        stored = {name: tuple(tensor.shape) for name, tensor in peer_tensors(peer, key).items()}
        assert {name: tuple(shape) for name, shape in layer.plan.shapes().items()} == stored, key


def peer_tensors(peer, key: str):  # type: ignore[no-untyped-def]
    (lora,) = (lora for lora in peer.unet_loras if lora.lora_name == key)
    return {
        name: tensor
        for name, tensor in lora.state_dict().items()
        if name not in ("alpha", "scalar")
    }


def test_attn_only_selects_the_attention_of_diffusers(unet: UNet2DConditionModel) -> None:
    """lycoris-lora 4.1.3's preset attn-only names no class of diffusers."""
    network = build_network({"unet": unet}, NetworkConfig(preset="attn-only"))
    assert {site.path.split(".")[-1] for site in network.sites.values()} >= {"to_q", "to_k", "to_v"}
    assert all(".attn" in site.path for site in network.sites.values())


def test_ia3_selects_keys_values_and_second_linears(unet: UNet2DConditionModel) -> None:
    """lycoris-lora 4.1.3's preset ia3 selects nothing: it matches its names at the beginning."""
    choices = select_layers({"unet": unet}, NetworkConfig(preset="ia3", algo="ia3"))
    by_end = {}
    for choice in choices:
        end = choice.site.path.rpartition("transformer_blocks.0.")[2]
        by_end[end] = choice.options.train_on_input
    assert by_end == {
        "attn1.to_k": False, "attn1.to_v": False, "attn2.to_k": False, "attn2.to_v": False,
        "ff.net.2": True,
    }  # fmt: skip
    others = select_layers({"unet": unet}, NetworkConfig(preset="ia3", algo="loha"))
    assert {choice.site.name for choice in others} == {choice.site.name for choice in choices}
    assert not any(choice.options.train_on_input for choice in others), "which loha does not read"


def paths(config: NetworkConfig) -> set[str]:
    targets = {"unet": UNet(), "text_encoder": TextEncoder()}
    return {choice.site.name for choice in select_layers(targets, config)}


def test_an_empty_preset_file_selects_what_full_selects(tmp_path: Path) -> None:
    empty = NetworkConfig(preset=written(tmp_path, "# nothing"))
    assert paths(empty) == paths(NetworkConfig(preset="full"))


def test_a_preset_file_has_targets_of_their_own_for_text_encoders(tmp_path: Path) -> None:
    text = "unet_target_module = []\nunet_target_name = []\ntext_encoder_target_module = []\n"
    config = NetworkConfig(preset=written(tmp_path, text + 'text_encoder_target_name = [".*q_"]'))
    assert paths(config) == {"text_encoder.attention.q_proj"}


def test_a_preset_file_selects_layers_of_a_plain_module_as_lycoris_does(tmp_path: Path) -> None:
    config = NetworkConfig(
        network_dim=4,
        preset=written(
            tmp_path,
            'target_module = ["Attention"]\ntarget_name = ["other"]\n'
            "[module_algo_map.ResnetBlock2D]\ndim = 2\n",
        ),
    )
    found = {choice.site.path: choice.rank for choice in select_layers({"model": UNet()}, config)}
    assert found == {
        "attention.attn1.to_q": 4, "other": 4, "block.conv1": 2, "block.conv_shortcut": 2,
    }  # fmt: skip


def test_overrides_win_over_the_preset_file(tmp_path: Path) -> None:
    text = '[module_algo_map.Attention]\nalgo = "lokr"\ndim = 2\n'
    config = NetworkConfig(
        preset=written(tmp_path, text), overrides=(LayerOverride(match="to_q", network_dim=3),)
    )
    (found,) = (
        (choice.options.algo, choice.rank)
        for choice in select_layers({"unet": UNet()}, config)
        if choice.site.path.endswith("to_q")
    )
    assert found == ("lokr", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enable_cnv = true", "unknown key enable_cnv.*did you mean enable_conv"),
        ("enable_conv = 1", "enable_conv is 1, expected true or false"),
        ("unet_target_module = 3", "unet_target_module is 3, expected a list of texts"),
        ("module_algo_map = 3", "module_algo_map is 3, expected a table"),
        ("[module_algo_map]\nA = 3", "module_algo_map.A is 3, expected a table"),
        ("[name_algo_map.a]\ndin = 3", "name_algo_map.a: unknown key din.*did you mean dim"),
        ('[name_algo_map.a]\ndim = "3"', "name_algo_map.a: dim is '3', expected a whole number"),
        ("[name_algo_map.a]\nalgo = 3", "name_algo_map.a: algo is 3, expected a text"),
        ('[name_algo_map.a]\nalgo = "x"', "name_algo_map.a: algo 'x' is not supported"),
        ('unet_target_name = ["("]', r"'\(' is no regular expression"),
        ("lora_prefix = 3", "lora_prefix is 3, expected a text"),
        (
            '[name_algo_map.a]\nsig_type = "last"',
            "a: sig_type is 'last', and here it is always 'principal'",
        ),
        ("enable_conv", "no valid TOML"),
    ],
)
def test_mistakes_in_a_preset_file_name_the_file_and_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=f"(?s){message}") as caught:
        select_layers({"unet": UNet()}, NetworkConfig(preset=path))
    assert path in str(caught.value)


def test_all_mistakes_in_a_preset_file_are_reported_at_once(tmp_path: Path) -> None:
    text = 'enable_conv = 1\n[name_algo_map.a]\ndim = "3"\n[name_algo_map.b]\nfactor = 0.5\n'
    with pytest.raises(ConfigError) as caught:
        read_preset(NetworkConfig(preset=written(tmp_path, text)))
    assert [error.what.partition(" is ")[0] for error in caught.value.parts] == [
        "enable_conv", "dim", "factor",
    ]  # fmt: skip


def test_settings_of_a_file_that_contradict_the_config_name_the_pattern(tmp_path: Path) -> None:
    path = written(tmp_path, "[name_algo_map.conv_in]\nwd_on_output = true\n")
    with pytest.raises(
        ConfigError, match=r"preset\.toml, conv_in, wd_on_output: .*dora_wd is false"
    ):
        read_preset(NetworkConfig(preset=path))
    assert read_preset(NetworkConfig(preset=path, dora_wd=True))


NOWHERE = r"(?s)nowhere\.toml: the preset cannot be read.*folder"


def test_a_missing_preset_file_is_refused_when_layers_are_chosen() -> None:
    config = NetworkConfig(preset="nowhere.toml")
    with pytest.raises(ConfigError, match=NOWHERE):
        select_layers({"unet": UNet()}, config)


def test_a_config_reads_no_file(tmp_path: Path) -> None:
    path = written(tmp_path, "use_fnmatch = false")
    with reading() as found:
        config = NetworkConfig(preset=path)
        assert replace(config, network_train_unet_only=True).preset == path
        assert path not in found.opened
        select_layers({"unet": UNet()}, config)
    assert found.opened.count(path) == 1


def test_the_option_preset_takes_a_file_beside_a_recipe(tmp_path: Path) -> None:
    path = written(tmp_path, GLOBS)
    config = build_config([OptionSource("my.toml", {"preset": ["seed-default", path]})])
    assert config.network.preset == path and config.network.conv_dim == 4
    assert 'preset = "preset.toml"' in dump_toml(config, for_sharing=True)


def test_a_lora_prefix_that_is_not_lycoris_is_refused_for_plain_modules_alone(
    tmp_path: Path,
) -> None:
    config = NetworkConfig(preset=str(written(tmp_path, 'lora_prefix = "lora_unet"')))
    assert select_layers({"unet": UNet()}, config)
    with pytest.raises(ConfigError, match=r"lora_prefix is 'lora_unet'.*begin with lycoris"):
        select_layers({"model": UNet()}, config)


def test_options_of_tlora_as_lycoris_writes_them_are_read(tmp_path: Path) -> None:
    text = '[name_algo_map.conv_in]\nalgo = "tlora"\nsig_type = "principal"\nuse_data_init = true'
    config = NetworkConfig(preset=str(written(tmp_path, text + "\nmask_group_id = 0")))
    (choice,) = (
        choice
        for choice in select_layers({"unet": UNet()}, config)
        if choice.options.algo == "tlora"
    )
    assert choice.site.name == "unet.conv_in"

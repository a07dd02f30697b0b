"""Options from files, recipes and flags: which source wins, and how mistakes are refused."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lycoris_ext.config import (
    RECIPES,
    OptionSource,
    TrainConfig,
    all_options,
    build_config,
    dump_toml,
    read_toml,
)
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import PRESETS, LayerOverride
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.network.sd_scripts_names import OLD_OPPOSITES, RATIOS, network_options


def build(**values):
    return build_config([OptionSource("my.toml", values)])


def refused(**values):
    with pytest.raises(ConfigError) as caught:
        build(**values)
    text = str(caught.value)
    assert "my.toml" in text
    return text


def test_without_options_the_config_is_the_default():
    assert build_config([]) == TrainConfig()


def test_flags_win_over_the_file_the_file_over_recipes_and_these_over_defaults():
    file = OptionSource(
        "file", {"preset": "seed-default", "learning_rate": 1e-3, "resolution": 768}
    )
    flags = OptionSource("command line", {"resolution": 640})
    config = build_config([file, flags])
    assert config.data.resolution == 640
    assert config.optimizer.learning_rate == 1e-3
    assert config.network.conv_dim == 4
    assert config.run.max_train_steps == 1600


def test_a_file_wins_over_a_recipe_of_the_command_line():
    file = OptionSource("file", {"conv_dim": 2})
    config = build_config([file, OptionSource("command line", {"preset": ("seed-default",)})])
    assert config.network.conv_dim == 2
    assert config.network.conv_alpha == 1.0


def test_the_recipe_seed_default_has_the_values_of_the_model_card():
    config = build(preset="seed-default")
    network = config.network
    assert (network.algo, network.network_dim, network.conv_dim) == ("loha", 8, 4)
    assert (network.network_alpha, network.conv_alpha) == (1.0, 1.0)
    assert config.optimizer.optimizer_type == "AdamW8bit"
    assert (config.optimizer.learning_rate, config.schedule.lr_scheduler) == (2e-4, "constant")
    assert (config.data.resolution, config.model.clip_skip) == (None, 1)  # as the base


def test_recipes_are_valid_and_share_no_name_with_choices_of_layers():
    assert not set(RECIPES) & set(PRESETS)
    for recipe in RECIPES.values():
        build(**recipe)


def test_preset_takes_a_recipe_and_a_choice_of_layers_together():
    config = build(preset=["seed-default", "attn-mlp"])
    assert (config.network.preset, config.network.conv_dim) == ("attn-mlp", 4)


def test_an_unknown_preset_names_the_nearest():
    text = refused(preset="seed-defualt")
    assert "unknown preset 'seed-defualt'" in text and "did you mean seed-default?" in text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("lerning_rate", "learning_rate"),
        ("max_train_step", "max_train_steps"),
        ("train_dir", "train_data_dir"),
        ("networkdim", "network_dim"),
    ],
)
def test_an_unknown_option_names_the_nearest(wrong, right):
    text = refused(**{wrong: 1})
    assert f"unknown option {wrong}" in text and f"did you mean {right}?" in text


def test_an_unknown_option_unlike_any_other_points_to_help():
    assert "lycoris-ext train --help" in refused(qqqq=1)


def test_options_of_sd_scripts_that_are_not_supported_are_refused_as_such():
    text = refused(resize_interpolation="area", resume="y")
    assert 'resize_interpolation = "area" is not supported' in text and "Lanczos" in text
    assert 'resume = "y" is not supported' in text and "continues by itself" in text


def test_options_with_one_possible_value_take_that_value_alone():
    build(save_model_as="safetensors", cache_latents=True, xformers=True, sdpa=False)
    assert "fp8_base = true is not supported" in refused(fp8_base=True)
    assert 'save_model_as = "ckpt" is not supported' in refused(save_model_as="ckpt")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("shuffle_caption", "False", "expected true or false"),
        ("shuffle_caption", 1, "expected true or false"),
        ("network_dim", 8.5, "expected a whole number"),
        ("network_dim", True, "expected a whole number"),
        ("learning_rate", "2e-4", "write it without quotes: learning_rate = 2e-4"),
        ("learning_rate", "fast", "change learning_rate"),
        ("output_name", 5, "expected a text in quotes"),
        ("include", [1], "expected a list of texts"),
        ("min_snr_gamma", "five", "expected a number"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_the_expected_one(name, value, said):
    text = refused(**{name: value})
    assert f"{name} is {value!r}" in text and said in text


def test_whole_numbers_lists_and_single_texts_are_converted():
    assert build(learning_rate=1).optimizer.learning_rate == 1
    assert build(resolution=[512, 768]).data.size == (512, 768)
    assert build(resolution="512, 768").data.size == (512, 768)
    assert build(exclude="unet.*").network.exclude == ("unet.*",)


def test_network_args_and_optimizer_args_of_sd_scripts_become_options():
    config = build(
        network_module="lycoris.kohya",
        network_dim=16,
        network_args=["algo=loha", "conv_dim=8", "conv_alpha=1", "rank_dropout=0.1", "use_cp=True"],
        optimizer_args=["weight_decay=0.1", "betas=0.9,0.99", "eps=1e-6"],
        use_8bit_adam=True,
        network_dropout=0.2,
    )
    network, optimizer = config.network, config.optimizer
    assert (network.algo, network.conv_dim, network.rank_dropout) == ("loha", 8, 0.1)
    assert (network.use_tucker, network.dropout) == (True, 0.2)
    assert (optimizer.weight_decay, optimizer.adam_beta2, optimizer.adam_epsilon) == (
        0.1,
        0.99,
        1e-6,
    )


def test_network_args_of_lycoris_become_options():
    config = build(
        network_module="lycoris.kohya",
        network_args=["algo=lokr", "factor=8", "decompose_both=True", "bypass_mode=True",
                      "rank_dropout_scale=True", "loraplus_unet_lr_ratio=4"],
    )  # fmt: skip
    network = config.network
    assert (network.factor, network.decompose_both, network.bypass_mode) == (8, True, True)
    assert network.rank_dropout_scale and config.optimizer.loraplus_unet_lr_ratio == 4
    assert build(network_args=["constrain=0.1"]).network.constraint == 0.1


def test_network_args_of_the_kohya_adapter_become_options():
    config = build(
        network_module="lycoris_ext.kohya",
        network_args=["algo=LoHa", "include=unet.a, unet.b", "exclude=^unet\\.out", "conv_dim=4",
                      "conv_alpha=0", "disable_conv_cp=False"],
    )  # fmt: skip
    network = config.network
    assert (network.algo, network.conv_alpha, network.use_tucker) == ("loha", 4, True)
    assert (network.include, network.exclude) == (("unet.a", "unet.b"), ("^unet\\.out",))
    assert build(network_args=["algo=ia3", "train_on_input=True"]).network.train_on_input
    assert build(network_dim=6, network_args=["conv_alpha=0"]).network.conv_alpha == 6
    assert "disable_conv_cp=3, expected true or false" in refused(
        network_args=["disable_conv_cp=3"]
    )


def test_every_network_arg_is_an_option():
    arguments, options = network_options(), {*all_options()}
    assert {known.name for known in arguments.values()} <= options
    assert {*RATIOS, *OLD_OPPOSITES.values()} <= options
    older = {name for name, known in arguments.items() if name != known.name}
    assert older >= {"use_cp", "constrain"} and not {*older, *OLD_OPPOSITES} & options


@pytest.mark.parametrize(
    ("module", "args", "algo"),
    [
        ("networks.lora", [], "lora"),
        ("lycoris.kohya", [], "locon"),
        ("lycoris.kohya", ["algo=lora"], "locon"),
        ("lycoris_ext.kohya", ["algo=lora"], "locon"),
        ("lycoris_ext.kohya", [], "locon"),
    ],
)
def test_network_module_decides_what_lora_means(module, args, algo):
    assert build(network_module=module, network_args=args).network.algo == algo


def test_unknown_network_args_and_optimizer_args_are_refused_by_name():
    assert "network_args has train_t5xxl=1" in refused(network_args=["train_t5xxl=1"])
    said = refused(optimizer_args=["decouple=True"])
    assert "optimizer_args has decouple=True, which AdamW8bit does not take" in said
    assert "use betas=0.9,0.999, eps=1e-08, weight_decay=0.01, amsgrad=False" in said
    said = refused(optimizer_type="AdamW", optimizer_args=["betas=0.9"])
    assert "betas=0.9,0.999 is what AdamW takes by itself" in said
    said = refused(optimizer_type="Adamm", optimizer_args=["betas=0.9,0.99"])
    assert 'optimizer_type = "Adamm" with its optimizer_args is not supported' in said
    assert "AdamW8bit, AdamW" in said
    assert "use_8bit_adam chooses AdamW8bit, and optimizer_type is 'AdamW'" in refused(
        use_8bit_adam=True, optimizer_type="AdamW"
    )
    assert build(use_8bit_adam=False, optimizer_type="AdamW").optimizer.optimizer_type == "AdamW"
    assert "expected name=value" in refused(network_args=["loha"])
    assert "network_module 'networks.lora_fa'" in refused(network_module="networks.lora_fa")


def test_a_flat_file_and_one_with_tables_give_the_same_config(tmp_path):
    flat, tables = tmp_path / "flat.toml", tmp_path / "tables.toml"
    flat.write_text('learning_rate = 1e-3\nnetwork_dim = 4\noutput_name = "ü"\n', encoding="utf-8")
    tables.write_text(
        '[x]\nlearning_rate = 1e-3\n[network]\nnetwork_dim = 4\n[run]\noutput_name = "ü"\n',
        encoding="utf-8",
    )
    assert build_config([read_toml(flat)]) == build_config([read_toml(tables)])


OVERRIDES = """
network_dim = 16
[[network.overrides]]
match = 'unet.*attn2'
algo = "lora"
network_dim = 4
learning_rate = 5e-5
[[network.overrides]]
match = "conv"
lr_weight = 1
"""


def test_overrides_are_read_from_tables_and_written_back_the_same(tmp_path):
    path, resolved = tmp_path / "a.toml", tmp_path / "resolved.toml"
    path.write_text(OVERRIDES, encoding="utf-8")
    config = build_config([read_toml(path)])
    assert config.network.overrides == (
        LayerOverride(match="unet.*attn2", algo="lora", network_dim=4, learning_rate=5e-5),
        LayerOverride(match="conv", lr_weight=1),
    )
    resolved.write_text(dump_toml(config), encoding="utf-8")
    assert build_config([read_toml(resolved)]) == config
    saved = json.loads(json.dumps(config.flat()))
    assert config.changed_since(saved) == {}
    assert "overrides" in build(network_dim=16).changed_since(saved)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"match": "a", "netwrok_dim": 4}, "unknown option netwrok_dim"),
        ({"match": "a", "network_dim": "4"}, "network_dim is '4', expected a whole"),
        ({"match": "a", "network_dim": 1.5}, "network_dim is 1.5, expected a whole"),
        ({"network_dim": 4}, "a table of overrides has no match"),
        ("unet", "overrides is ['unet'], expected a list of tables"),
    ],
)
def test_wrong_overrides_are_refused_by_name(table, said):
    assert said in refused(overrides=[table])


def test_an_override_may_set_every_option_of_a_layer():
    known = LayerOverride.options()
    assert known.keys() - LayerOptions.options().keys() == {"match", "learning_rate", "lr_weight"}
    for name in LayerOptions.options():
        assert known[name].default is None and known[name].convert(None) is None


def test_config_files_that_cannot_be_read_are_refused_with_a_remedy(tmp_path):
    path = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        read_toml(path)
    assert "lycoris-ext init" in str(caught.value)
    path.write_text('train_data_dir = "C:\\Users\\me"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="no valid TOML") as caught:
        read_toml(path)
    assert "Windows paths need /" in str(caught.value)
    path.write_text("[a]\nseed = 1\n[b]\nseed = 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="seed is set twice"):
        read_toml(path)
    path.write_bytes("output_name = 'ü'".encode("latin-1"))
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        read_toml(path)


def test_a_written_config_is_read_back_the_same(tmp_path):
    config = build(
        preset="seed-default",
        train_data_dir='C:\\pictures\\"x"',
        output_name="ü x",
        include=["a", "b.*"],
        min_snr_gamma=5,
        unet_lr=1e-10,
        sample_prompts=["a\x7f --n b"],
    )
    path = tmp_path / "resolved.toml"
    path.write_text(dump_toml(config), encoding="utf-8")
    assert build_config([read_toml(path)]) == config


def test_a_config_for_sharing_names_no_folders():
    config = build(
        train_data_dir="C:\\Users\\rosalind\\pics",
        output_dir="/home/rosalind/out",
        logging_dir="/home/rosalind/logs",
        log_with="tensorboard",
        network_weights="/home/rosalind/first.safetensors",
        base_weights=["/home/rosalind/style.safetensors"],
    )
    text = dump_toml(config, for_sharing=True)
    assert 'train_data_dir = "pics"' in text
    assert 'network_weights = "first.safetensors"' in text
    assert 'base_weights = ["style.safetensors"]' in text
    assert "rosalind" not in text and "logs" not in text


def test_every_option_has_a_help_text():
    assert [name for name, option in all_options().items() if not option.help] == []
    assert set(TrainConfig().flat()) <= set(all_options())


def test_only_options_that_change_the_result_count_as_changed():
    saved = json.loads(json.dumps(TrainConfig().flat()))
    assert TrainConfig().changed_since(saved) == {}
    assert build(max_train_steps=5, output_dir="x", save_every_n_steps=3).changed_since(saved) == {}
    assert build(network_dim=4).changed_since(saved) == {"network_dim": (8, 4)}
    cosine = json.loads(json.dumps(build(lr_scheduler="cosine").flat()))
    longer = build(lr_scheduler="cosine", max_train_steps=5)
    assert longer.changed_since(cosine) == {"max_train_steps": (1600, 5)}


def test_an_option_newer_than_the_saved_run_had_its_default():
    saved = json.loads(json.dumps(TrainConfig().flat()))
    del saved["network_dim"]
    assert TrainConfig().changed_since(saved) == {}
    assert build(network_dim=4).changed_since(saved) == {"network_dim": (8, 4)}


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().run.seed = 5

"""Texts of --network_args become options, or an error that says what is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from kohya_adapter import create_network, create_network_from_weights
from kohya_adapter.arguments import DIFFERENT, read_arguments
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig
from tests.kohya_gui import GUI_ARGUMENTS


def config(dim: int | None = 8, alpha: float | None = 4.0, **given: Any) -> NetworkConfig:
    return read_arguments(dim, alpha, None, given).config


def test_without_arguments_the_network_is_that_of_lycoris() -> None:
    made = config(None, None)
    assert (made.algo, made.network_dim, made.network_alpha) == ("lora", 4, 1.0)
    assert (made.conv_dim, made.conv_alpha, made.preset) == (4, 1.0, "full")
    assert config(dropout=None) == config(8, 4.0)


def test_conv_dim_and_conv_alpha_are_read_and_an_alpha_of_0_is_the_rank() -> None:
    made = config(algo="LoHa", conv_dim="4", conv_alpha="1")
    assert (made.algo, made.conv_dim, made.conv_alpha) == ("loha", 4, 1.0)
    assert config(conv_dim="4").conv_alpha == 4.0
    assert config(conv_dim="0").dims(spatial=True)[0] == 0
    assert config(conv_dim="").conv_dim == 8
    zero = config(8, 0.0, conv_dim="4", conv_alpha="0")
    assert (zero.network_alpha, zero.conv_alpha) == (8.0, 4.0), "0: as large as the rank"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"use_cp": "True"}, {"use_tucker": True}),
        ({"use_conv_cp": "true"}, {"use_tucker": True}),
        ({"disable_conv_cp": "True"}, {"use_tucker": False}),
        ({"disable_conv_cp": "False"}, {"use_tucker": True}),
        ({"algo": "diag-oft", "constrain": "0.1"}, {"constraint": 0.1}),
        ({"use_scalar": "1", "rs_lora": "no"}, {"use_scalar": True, "rs_lora": False}),
        ({"algo": "lokr", "factor": "8", "decompose_both": "False"}, {"factor": 8,
                                                                     "decompose_both": False}),
        ({"dropout": "0.1", "rank_dropout": ".2", "module_dropout": "0"}, {"dropout": 0.1,
                                                                          "rank_dropout": 0.2}),
        ({"exclude": r"unet\.mid_block, conv_in"}, {"exclude": (r"unet\.mid_block", "conv_in")}),
        ({"algo": "dylora", "block_size": "2"}, {"block_size": 2}),
        ({"algo": "dylora", "unit": "2"}, {"block_size": 2}),
        ({"weight_decompose": "True"}, {"dora_wd": True}),
        ({"wd_on_output": "True"}, {"dora_wd": False, "wd_on_output": False}),
        ({"wd_on_output": "True", "dora_wd": "True"}, {"dora_wd": True, "wd_on_output": True}),
        ({"sig_type": "principal", "use_data_init": "True"}, {"algo": "lora"}),
        ({"split_qkv": "False", "ggpo_beta": "", "enable_conv": "False"}, {"algo": "lora"}),
        ({"warn_on_unmatched": "False", "train_norm": "None"}, {"train_norm": False}),
    ],
)  # fmt: skip
def test_texts_of_arguments_become_options_of_their_type(
    given: dict[str, str], expected: dict[str, object]
) -> None:
    made = config(**given)
    assert {name: getattr(made, name) for name in expected} == expected


def test_arguments_that_are_no_network_options_are_kept_apart() -> None:
    given = {"loraplus_lr_ratio": "16", "train_t5xxl": "True", "block_dims": "1,2",
             "train_llm_adapter": "false"}  # fmt: skip
    arguments = read_arguments(8, 4.0, None, given)
    assert arguments.ratios == {"loraplus_lr_ratio": 16.0}
    assert arguments.blocks == {"block_dims": "1,2"}
    assert arguments.train_t5xxl and not arguments.train_llm_adapter
    assert read_arguments(8, 4.0, 0.3, {}).config.dropout == 0.3
    assert read_arguments(8, 4.0, 0.3, {"dropout": "0.1"}).config.dropout == 0.1


@pytest.mark.parametrize("algo", GUI_ARGUMENTS)
def test_arguments_that_the_kohya_ss_gui_writes_are_read(algo: str) -> None:
    given = dict(item.split("=", 1) for item in GUI_ARGUMENTS[algo].split())
    made = config(8, 1.0, **given, dropout=None)
    assert (made.algo, made.network_dim, made.preset) == (algo, 8, "full")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conv_dims": "4"}, r"unknown argument conv_dims\n  -> did you mean conv_dim\?"),
        ({"use_tuckr": None}, r"unknown argument use_tuckr\n  -> did you mean use_tucker\?"),
        ({"weight_decompos": "1"}, r"did you mean weight_decompose\?"),
        ({"split_qkv": "True"}, "split_qkv is not supported: in networks.lora_flux it gives"),
        ({"ggpo_beta": "0.01"}, "ggpo_beta is not supported: GGPO disturbs"),
        ({"enable_conv": "True"}, "convolutions are adapted if conv_dim is not 0"),
        ({"sig_type": "random"}, "sig_type is 'random', and here it is always 'principal'"),
        ({"unit": "x"}, "unit is 'x', expected a whole number"),
        ({"zzz": "1"}, r"unknown argument zzz\n  -> use one of algo, "),
        ({"overrides": "1"}, "unknown argument overrides"),
        ({"network_dim": "4"}, "network_dim is an option of the script\n  -> use --network_dim"),
        ({"conv_dim": "4.5"}, r"conv_dim is '4.5', expected a whole number"),
        ({"use_tucker": "maybe"}, r"use_tucker is 'maybe', expected true or false"),
        ({"conv_alpha": "one"}, r"conv_alpha is 'one', expected a number"),
        ({"algo": "lohra"}, "algo 'lohra' is not supported"),
        ({"preset": "all"}, "unknown preset 'all'"),
        ({"dropout": "2"}, "dropout is 2.0"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_right(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**given)


@pytest.mark.parametrize("name", ["network_dim", "network_alpha"])
def test_an_option_of_the_script_among_the_arguments_is_told_by_both_functions(name: str) -> None:
    # Python itself would complain of "multiple values for argument".
    with pytest.raises(ConfigError, match=f"use --{name}"):
        create_network(1.0, 4, 1.0, None, None, nn.Identity(), **{name: "4"})
    with pytest.raises(ConfigError, match="set --network_weights"):
        create_network_from_weights(1.0, None, None, None, nn.Identity())


def test_docs_hosts_kohya_names_every_argument() -> None:
    page = Path(__file__).parents[2] / "docs" / "hosts" / "kohya.md"
    named = set(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8")))
    with pytest.raises(ConfigError, match="use one of") as caught:
        config(zzz="1")
    known = str(caught.value).partition("use one of ")[2].split(", ")
    assert set(known) - named == {"warn_on_unmatched"}, "which has no effect"
    assert DIFFERENT.keys() <= named


def test_as_texts_gives_arguments_that_are_read_back_the_same() -> None:
    arguments = read_arguments(8, 4.0, None, {"algo": "lokr", "factor": "4", "exclude": "a, b"})
    texts = arguments.as_texts()
    assert texts["conv_dim"] == "8" and texts["preset"] == "full"
    assert read_arguments(8, 4.0, None, texts) == arguments

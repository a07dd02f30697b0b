"""Ranks and learning rates of a U-Net's blocks, numbered as sd-scripts numbers them."""

from __future__ import annotations

import math
import re

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.network.block_arguments import block_overrides
from lycoris_ext.network.overrides import settings_for

#: Path -> block, read off sd-scripts 48d368f, networks/lora.py, get_block_index.
SD = {
    "down_blocks.0.attentions.0.proj_in": 1,
    "down_blocks.0.resnets.1.conv1": 2,
    "down_blocks.0.downsamplers.0.conv": 3,
    "down_blocks.3.resnets.1.conv2": 11,
    "mid_block.attentions.0.proj_out": 12,
    "up_blocks.0.resnets.0.conv1": 13,
    "up_blocks.0.upsamplers.0.conv": 15,
    "up_blocks.1.attentions.2.proj_in": 18,
    "up_blocks.3.attentions.2.proj_in": 24,
    "conv_in": 0,
    "time_embedding.linear_1": 0,
    "conv_out": 24,
}
SDXL = {
    "time_embed.0": 0,
    "input_blocks.0.0": 1,
    "input_blocks.4.1.proj_in": 5,
    "input_blocks.8.1.transformer_blocks.9.attn1.to_q": 9,
    "middle_block.1.proj_out": 11,
    "output_blocks.0.0.in_layers.2": 13,
    "output_blocks.8.0.out_layers.3": 21,
    "out.2": 22,
}


def settings(family: str, path: str, **arguments: str) -> dict[str, object]:
    """Return the settings that block arguments give one layer of a U-Net."""
    paths = SD if family == "sd1" else SDXL
    overrides = block_overrides(arguments, FAMILIES[family], paths, (8, 8), None)
    return settings_for(overrides, f"unet.{path}", False, {}, rank=8)[0]


@pytest.mark.parametrize(("family", "path", "block"), [
    *(("sd1", path, block) for path, block in SD.items()),
    *(("sdxl", path, block) for path, block in SDXL.items()),
])  # fmt: skip
def test_a_layer_lies_in_the_block_that_sd_scripts_counts(
    family: str, path: str, block: int
) -> None:
    count = 25 if family == "sd1" else 23
    dims = ",".join(str(number + 1) for number in range(count))
    assert settings(family, path, block_dims=dims)["rank"] == block + 1


def test_equal_blocks_share_one_override() -> None:
    dims = ",".join(["4"] * 12 + ["8"] + ["4"] * 12)
    overrides = block_overrides({"block_dims": dims}, FAMILIES["sd1"], SD, (8, 8), None)
    assert sorted(override.network_dim or 0 for override in overrides) == [4, 8]
    for path in SD:
        fitting = [o for o in overrides if re.search(o.match, f"unet.{path}")]
        assert len(fitting) == 1


def test_convolutions_of_a_block_take_conv_block_dims_or_conv_dim() -> None:
    dims = ",".join(["4"] * 25)
    (override,) = block_overrides({"block_dims": dims}, FAMILIES["sd1"], SD, (8, 8), (2, 1.0))
    assert (override.network_dim, override.conv_dim, override.conv_alpha) == (4, 2, 1.0)
    arguments = {"block_dims": dims, "block_alphas": ",".join(["0"] * 25),
                 "conv_block_dims": ",".join(["3"] * 25),
                 "conv_block_alphas": ",".join(["1.5"] * 25)}  # fmt: skip
    (override,) = block_overrides(arguments, FAMILIES["sd1"], SD, (8, 8), (2, 1.0))
    assert (override.network_alpha, override.conv_dim, override.conv_alpha) == (4.0, 3, 1.5)


@pytest.mark.parametrize(
    ("dims", "conv", "expected"),
    [
        ({}, None, {"network_alpha": 8.0, "conv_alpha": 6.0}),
        ({"block_dims": 4}, None, {"network_alpha": 4.0, "conv_alpha": 4.0}),
        ({"block_dims": 4}, (2, 1.0), {"network_alpha": 4.0, "conv_alpha": 2.0}),
        ({"conv_block_dims": 3}, None, {"network_alpha": 8.0, "conv_alpha": 3.0}),
    ],
)
def test_an_alpha_of_0_is_as_large_as_the_rank(
    dims: dict[str, int], conv: tuple[int, float] | None, expected: dict[str, float]
) -> None:
    """The rank of the block is meant, or the network's if the block has none."""
    told = {"block_alphas": 0, "conv_block_alphas": 0, **dims}
    arguments = {name: ",".join([str(value)] * 25) for name, value in told.items()}
    (override,) = block_overrides(arguments, FAMILIES["sd1"], SD, (8, 6), conv)
    assert {name: getattr(override, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("curve", "first", "fourth", "last"),
    [
        ("sine", 0.0, math.sin(math.pi * 3 / 22), 1.0),
        ("cosine", 1.0, math.cos(math.pi * 3 / 22), 0.0),
        ("linear", 0.0, 3 / 11, 1.0),
        ("reverse_linear", 1.0, 8 / 11, 0.0),
        ("zeros+0.5", 0.5, 0.5, 0.5),
        ("linear+.25", 0.25, 3 / 11 + 0.25, 1.25),
    ],
)
def test_named_curves_give_the_learning_rates_of_sd_scripts(
    curve: str, first: float, fourth: float, last: float
) -> None:
    weights = [
        settings("sd1", path, down_lr_weight=curve).get("lr_weight", 1.0)
        for path in ("conv_in", "down_blocks.0.downsamplers.0.conv",
                     "down_blocks.3.resnets.1.conv2", "mid_block.attentions.0.proj_out")
    ]  # fmt: skip
    assert weights == pytest.approx([first, fourth, last, 1.0])


def test_lists_of_lr_weights_and_the_zero_threshold_reach_their_blocks() -> None:
    up = ",".join(["0.1", "", *["1"] * 10])
    told = {"up_lr_weight": up, "mid_lr_weight": "0.3", "block_lr_zero_threshold": "0.2"}
    assert settings("sd1", "up_blocks.0.resnets.0.conv1", **told) == {"lr_weight": 0.0}
    assert settings("sd1", "mid_block.attentions.0.proj_out", **told) == {"lr_weight": 0.3}
    assert settings("sd1", "conv_in", **told) == {}
    ends = {"down_lr_weight": "zeros", "up_lr_weight": "zeros", "mid_lr_weight": "0,0,0"}
    assert settings("sdxl", "out.2", **ends) == {} == settings("sdxl", "time_embed.0", **ends)
    assert settings("sdxl", "input_blocks.0.0", **ends) == {"lr_weight": 0.0}


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("sd1", {"block_dims": "4,4"}, "block_dims has 2 numbers, the model 25 such blocks"),
        ("sdxl", {"mid_lr_weight": "1"}, "mid_lr_weight has 1 number, the model 3"),
        ("sd1", {"down_lr_weight": "wave"}, "expected numbers between commas, or one of sine"),
        ("sd1", {"block_dims": "a"}, "block_dims is 'a', expected whole numbers between commas\n"),
        ("sd1", {"block_dims": "inf" + ",4" * 24}, "expected whole numbers between commas\n"),
        ("sd1", {"conv_block_dims": "nan" + ",4" * 24}, "expected whole numbers between commas\n"),
        ("sd1", {"block_dims": "1.5" + ",4" * 24}, "expected whole numbers between commas\n"),
        ("sd1", {"block_alphas": "nan" + ",1" * 24}, "expected numbers between commas\n"),
        ("sd1", {"up_lr_weight": "inf" + ",1" * 11}, "expected numbers between commas, or one of"),
        ("sd1", {"up_lr_weight": "sine+nan"}, "expected numbers between commas, or one of"),
        ("flux", {"block_dims": "4"}, r"this model is FLUX\.1"),
    ],
)
def test_wrong_block_arguments_are_refused_by_name(
    family: str, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        block_overrides(arguments, FAMILIES[family], SD, (8, 8), None)


def test_without_block_arguments_there_are_no_overrides() -> None:
    for arguments in ({}, {"block_lr_zero_threshold": "0.1"}):
        assert block_overrides(arguments, FAMILIES["flux"], SD, (8, 8), None) == ()

"""Strengths of single blocks of a U-Net."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import BlockWeights
from lycoris_ext.network.block_weights import LISTS, block_of
from lycoris_ext.network.sites import all_sites
from tests.stand_ins import UNETS, stand_in

BLOCKS = {
    "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q": "IN08",
    "down_blocks.0.downsamplers.0.conv": "IN03",
    "mid_block.attentions.0.proj_out": "M00",
    "up_blocks.0.resnets.2.conv1": "OUT02",
    "conv_in": "IN00",
    "conv_out": "BASE",
    "time_embedding.linear_1": "BASE",
}


@pytest.mark.parametrize("naming", ["diffusers", "ldm"])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_blocks_have_ldms_numbers_in_every_naming(family: str, naming: str) -> None:
    sites = all_sites(stand_in(family, naming))
    found = {site.path: block_of(site) for site in sites.values()}
    for diffusers, ldm, _ in UNETS[family]:
        if diffusers in BLOCKS:
            assert found[diffusers if naming == "diffusers" else ldm] == BLOCKS[diffusers]
    assert found["text_model.encoder.layers.0.self_attn.q_proj"] == "BASE"


def test_named_blocks_have_their_weight_and_all_others_1() -> None:
    weights = BlockWeights.parse("IN08=0.5, OUT=0, base = 2\nM00=0.25")
    sites = {site.name: site for site in all_sites(stand_in("sd")).values()}

    def of(path: str) -> float:
        return weights.of(sites[f"unet.{path}"])

    assert of("down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q") == 0.5
    assert of("down_blocks.1.attentions.0.proj_in") == 1.0, "not named"
    assert of("up_blocks.0.resnets.2.conv1") == 0.0
    assert of("mid_block.attentions.0.proj_out") == 0.25
    assert of("conv_out") == 2.0


@pytest.mark.parametrize("count", LISTS)
def test_a_list_of_numbers_gives_every_block_its_weight(count: int) -> None:
    numbers = [str(number) for number in range(count)]
    weights = BlockWeights.parse(", ".join(numbers)).weights
    assert list(weights.values()) == list(map(float, numbers))
    assert weights["BASE"] == 0.0 and "M00" in weights


def test_an_empty_text_gives_no_block_weights() -> None:
    assert BlockWeights.parse(" ").weights == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1, 2, 3", "3 numbers are given"),
        ("IN12=1", "there is no block 'IN12'"),
        ("IN04=much", "'much' is no number"),
        ("IN04=nan", "'nan' is no number"),
        ("OUT=-inf", "'-inf' is no number"),
        (", ".join(["1"] * 16 + ["x"]), "'x' is no number"),
    ],
)
def test_wrong_block_weights_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as told:
        BlockWeights.parse(text)
    assert told.value.where == "block_weights"

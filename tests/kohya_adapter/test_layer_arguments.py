"""Arguments about single layers of transformers; tests/hosts holds them against sd-scripts' own."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kohya_adapter.argument_texts import block_numbers, patterns_of, ranks_of
from kohya_adapter.layer_choices import CHOICES, LAYER_ARGUMENTS
from lycoris_ext.errors import ConfigError
from lycoris_ext.kohya import create_network, create_network_from_weights
from tests.hosts.inside.model_trees import model_of
from tests.kohya_adapter.layer_cases import CASES
from tests.oracles.sd_scripts_models import FILE


@cache
def models(family: str) -> tuple[Any, Any]:
    trees = json.loads(FILE.read_text(encoding="utf-8"))[family]["trees"]
    *encoders, unet = map(model_of, trees)
    return encoders, unet


def created(family: str, alpha: float = 4.0, **arguments: str) -> Any:
    encoders, unet = models(family)
    return create_network(1.0, 8, alpha, None, encoders, unet, algo="lora", **arguments)


def ranks(network: Any, words: str) -> set[tuple[int, float]]:
    """Return rank and alpha of the layers whose name a pattern fits."""
    return {
        (layer.plan.rank, layer.plan.alpha)
        for key, layer in network.layers.items()
        if re.search(words, key)
    }


def test_ranks_by_kind_of_layer_in_flux() -> None:
    network = created("flux", img_attn_dim="2", txt_mod_dim="0", single_dim="6")
    assert ranks(network, "img_attn") == {(2, 4.0)} and ranks(network, "single_.*linear") == {
        (6, 4.0)
    }
    assert ranks(network, "txt_mod") == set() and ranks(network, "txt_attn|lora_te1") == {(8, 4.0)}


def test_an_alpha_of_0_is_the_rank_of_each_layer() -> None:
    network = created("flux", 0.0, img_attn_dim="2", in_dims="[3,0,0,0,0]")
    assert ranks(network, "img_attn") == {(2, 2.0)} and ranks(network, "img_in") == {(3, 3.0)}
    assert ranks(network, "txt_attn") == {(8, 8.0)}


def test_layers_beside_the_blocks_are_added() -> None:
    network = created("sd3", emb_dims="1,2,3,0,5,0")
    plain = created("sd3")
    added = {key for key in network.layers if key not in plain.layers}
    assert len(added) == 5
    assert ranks(network, "x_embedder_proj$") == {(3, 4.0)}, "a convolution of 2x2"
    assert ranks(network, "y_embedder|final_layer_linear") == set()


def test_blocks_by_number() -> None:
    more = {"train_double_block_indices": "none", "train_single_block_indices": "1-2,5"}
    found = {re.sub(r"_(?:linear|mod).*", "", key) for key in created("flux", **more).layers
             if "unet" in key}  # fmt: skip
    assert found == {f"lora_unet_single_blocks_{number}" for number in (1, 2, 5)}


def test_patterns_set_ranks_and_rates() -> None:
    network = created("anima", network_reg_dims=r".*q_proj=2", network_reg_lrs=r"blocks\.0\..*=.5")
    assert ranks(network, "q_proj") == {(2, 4.0)}
    groups, _ = network.prepare_optimizer_params_with_multiple_te_lrs([0.1], 0.1, 0.1)
    assert {group["lr"] for group in groups} == {0.1, 0.5}
    sd = created("sd1", network_reg_dims=r"mid_block.*=3", preset="attn-mlp")
    assert ranks(sd, "mid_block") == {(3, 4.0)}


def test_rates_by_pattern_hold_for_a_file_that_is_continued() -> None:
    encoders, unet = models("flux")
    fresh = created("flux", train_blocks="double", train_double_block_indices="0-1")
    file = {
        f"{key}.{name}": tensor.new_zeros(tensor.shape, device="cpu")
        for key, layer in fresh.layers.items()
        for name, tensor in layer.stored().items()
    }
    network, _ = create_network_from_weights(
        1.0, None, None, encoders, unet, file, network_reg_lrs="double_blocks_1_=0.5"
    )
    groups, _ = network.prepare_optimizer_params_with_multiple_te_lrs([0.1], 0.1, 0.1)
    assert {group["lr"] for group in groups} == {0.1, 0.5}


WRONG = [
    ("sdxl", {"img_attn_dim": "4"}, r"img_attn_dim is for FLUX\.1, this model is Stable Diffusion"),
    ("flux", {"emb_dims": "1,2,3,4,5,6"}, "emb_dims is for Stable Diffusion 3"),
    ("flux", {"in_dims": "[1,2]"}, r"in_dims is '\[1,2\]', expected 5 ranks between commas"),
    ("flux", {"img_mlp_dim": "-1"}, "img_mlp_dim is '-1', expected a rank"),
    ("flux", {"train_blocks": "some"}, "expected one of all, double, single"),
    ("flux", {"train_single_block_indices": "40"}, "names block 40, the last one .* is 37"),
    ("flux", {"train_single_block_indices": "3-1"}, "expected numbers of blocks such as 0-3,7"),
    ("flux", {"network_reg_dims": "img"}, "network_reg_dims is 'img', expected a pattern, ="),
    ("flux", {"network_reg_dims": "(=2"}, "is no regular expression"),
    ("anima", {"include_patterns": "[1]"}, r"expected patterns: \['\.\*mlp"),
    ("anima", {"exclude_patterns": "'.*'"}, "selects no layer"),
    ("lumina", {"train_block_indices": "1"}, "train_block_indices is for Stable Diffusion 3"),
]


@pytest.mark.parametrize(("family", "arguments", "message"), WRONG)
def test_a_wrong_argument_says_what_is_right(
    family: str, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        created(family, **arguments)


def test_every_argument_of_the_table_is_tried_in_the_real_host() -> None:
    tried = {name for cases in CASES.values() for case in cases for name in case}
    assert set(LAYER_ARGUMENTS) <= tried
    assert {family.replace("-", "_") for family in CASES} >= CHOICES.keys()


@given(st.text(max_size=30))
@example("[[")
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    for read in (
        lambda: block_numbers("train_block_indices", text),
        lambda: ranks_of("in_dims", text, 5),
        lambda: patterns_of("include_patterns", {"include_patterns": text}),
    ):
        try:
            read()
        except ConfigError as error:
            assert error.fix


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_numbers_of_blocks_are_read_as_they_are_written(numbers: list[int]) -> None:
    found = block_numbers("x", ", ".join(map(str, numbers)))
    assert {number for one in found for number in one} == set(numbers)

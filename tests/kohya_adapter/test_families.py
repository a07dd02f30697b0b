"""Every family that sd-scripts trains: which layers, under which keys, without a checkout.

The models are trees of the real classes; tests/hosts holds them against the classes themselves.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from torch import nn

from lycoris_ext.kohya import create_network, create_network_from_weights
from tests.hosts.inside.model_trees import model_of, tree_of
from tests.oracles.sd_scripts_models import FAMILIES, FILE, digest

ORACLE: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
#: Starts of keys: docs/hosts/kohya.md, "Keys by family".
CLIP_L, CLIP_G, T5 = "lora_te1_text_model", "lora_te2_text_model", "lora_te3_encoder"
SD, SD3, FLUX = {"lora_te_text_model"}, {CLIP_L, CLIP_G, T5}, {CLIP_L, T5}
TEXT_PREFIXES: dict[str, set[str]] = {
    "sd1": SD, "sd2": SD, "sdxl": {CLIP_L, CLIP_G}, "sd3": SD3, "sd3.5-medium": SD3,
    "sd3.5-large": SD3, "flux": FLUX, "chroma": FLUX, "lumina": {"lora_te_layers"},
    "hunyuan-image": set(), "anima": {"lora_te_layers"},
}  # fmt: skip


def models(family: str) -> tuple[Any, nn.Module]:
    *encoders, unet = map(model_of, ORACLE[family]["trees"])
    return (encoders[0] if family in ("sd1", "sd2") else encoders), unet


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_keys_of_every_family_are_those_of_the_oracle(family: str) -> None:
    encoders, unet = models(family)
    cases: dict[str, dict[str, Any]] = {
        "ours": {"conv_dim": "4", "train_t5xxl": "True"},
        "ours without t5": {"conv_dim": "4"},
        "ours attn-mlp": {"preset": "attn-mlp"},
    }
    for name, arguments in cases.items():
        network = create_network(1.0, 8, 4.0, None, encoders, unet, **arguments)
        assert digest([*network.layers]) == ORACLE[family][name], name
        assert network.train_t5xxl is (name == "ours")
    assert ORACLE[family]["theirs without ours"] == []
    network = create_network(1.0, 8, 4.0, None, encoders, unet, **cases["ours"])
    prefixes = TEXT_PREFIXES[family] | {"lora_unet"}
    assert {next(p for p in prefixes if key.startswith(p)) for key in network.layers} == prefixes


@pytest.mark.parametrize("family", ["flux", "sd3", "lumina", "anima", "hunyuan-image"])
def test_a_file_of_a_newer_family_loads_into_the_layers_that_wrote_it(family: str) -> None:
    encoders, unet = models(family)
    network = create_network(1.0, 2, 2.0, None, encoders, unet, train_t5xxl="True", algo="lora")
    fresh = {key: tensor.new_zeros(tensor.shape, device="cpu") for key, tensor in
             network.state_dict().items()}  # fmt: skip
    loaded, weights = create_network_from_weights(1.0, None, None, encoders, unet, fresh, True)
    assert set(loaded.layers) == set(network.layers) and weights is fresh
    assert loaded.train_t5xxl is (family in ("flux", "sd3"))


def test_anima_adapts_its_language_adapter_when_asked() -> None:
    encoders, unet = models("anima")
    without = create_network(1.0, 8, 4.0, None, encoders, unet)
    network = create_network(1.0, 8, 4.0, None, encoders, unet, train_llm_adapter="true")
    more = set(network.layers) - set(without.layers)
    assert more and all(key.startswith("lora_unet_llm_adapter_blocks_") for key in more)


@pytest.mark.parametrize(
    ("include", "more"),
    [
        (r"unet\.out\.2", {"lora_unet_out_2"}),
        (r"^unet\.(time_embed|input_blocks\.0\.0|out)(\.|$)",
         {"lora_unet_time_embed_0", "lora_unet_time_embed_2", "lora_unet_input_blocks_0_0",
          "lora_unet_out_2"}),
    ],
)  # fmt: skip
def test_an_outer_layer_of_sdxl_that_include_names_is_adapted(include: str, more: set[str]) -> None:
    encoders, unet = models("sdxl")
    plain = create_network(1.0, 8, 4.0, None, encoders, unet)
    network = create_network(1.0, 8, 4.0, None, encoders, unet, include=include)
    assert set(network.layers) - set(plain.layers) == more
    assert set(plain.layers) < set(network.layers)


def rates_of_encoders(network: Any) -> dict[str, float]:
    groups, names = network.prepare_optimizer_params_with_multiple_te_lrs([1.0, 2.0], 9.0, 9.0)
    return {name: group["lr"] for name, group in zip(names, groups, strict=True) if name != "unet"}


def test_text_encoder_rates_go_by_the_position_among_the_given_encoders() -> None:
    encoders, unet = models("sdxl")
    network = create_network(1.0, 8, 4.0, None, encoders, unet, exclude=r"^text_encoder\.")
    assert rates_of_encoders(network) == {"textencoder": 2.0}
    (_, t5), unet = models("flux")
    network = create_network(1.0, 8, 4.0, None, [None, t5], unet, train_t5xxl="true", algo="lora")
    assert rates_of_encoders(network) == {"textencoder": 2.0}
    file = {
        f"{key}.{name}": tensor.new_zeros(tensor.shape, device="cpu")
        for key, layer in network.layers.items()
        for name, tensor in layer.stored().items()
    }
    loaded, _ = create_network_from_weights(1.0, None, None, [None, t5], unet, file)
    assert rates_of_encoders(loaded) == {"textencoder": 2.0}


def test_a_model_built_from_a_tree_has_that_tree() -> None:
    for found in ORACLE.values():
        for tree in found["trees"]:
            assert tree_of(model_of(tree)) == tree


class Wrapper:
    """What ``gen_img.py`` hands over: it draws with a class that is no module and holds one."""

    def __init__(self, unet: nn.Module) -> None:
        self.delegate = unet

    def __getattr__(self, name: str) -> Any:
        return getattr(self.delegate, name)


def test_a_unet_in_gen_img_s_wrapper_is_adapted_as_the_model_inside_it() -> None:
    text, unet = models("sd1")
    network = create_network(1.0, 2, 2.0, None, text, unet, algo="lora")
    fresh = {key: tensor.new_zeros(tensor.shape, device="cpu") for key, tensor in
             network.state_dict().items()}  # fmt: skip
    loaded, _ = create_network_from_weights(1.0, None, None, text, Wrapper(unet), fresh, True)
    assert set(loaded.layers) == set(network.layers)
    loaded.apply_to(text, Wrapper(unet), True, True)

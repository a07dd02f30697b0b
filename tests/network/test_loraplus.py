"""LoRA+: the factors on the output side of a product learn at a rate of their own."""

from __future__ import annotations

import pytest
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import LayerOverride, NetworkConfig, build_network
from tests.network.models import TextEncoder, UNet


def keys_by_group(options: dict[str, object], **ratios: float) -> dict[str, set[str]]:
    model = nn.Sequential(nn.Conv2d(16, 16, 3))
    network = build_network({"model": model}, NetworkConfig(**options))  # type: ignore[arg-type]
    names = {parameter: name.partition(".")[2] for name, parameter in network.named_parameters()}
    groups = network.param_groups(1e-3, **ratios)
    assert {group["lr"] for group in groups} <= {1e-3, 1e-3 * ratios.get("loraplus_lr_ratio", 1.0)}
    return {group["name"]: {names[p] for p in group["params"]} for group in groups}


@pytest.mark.parametrize(
    ("options", "plus"),
    [
        ({"algo": "locon"}, {"lora_up.weight"}),
        ({"algo": "locon", "use_tucker": True}, {"lora_up.weight"}),
        ({"algo": "loha"}, {"hada_w1_a", "hada_w2_a"}),
        ({"algo": "loha", "use_tucker": True, "use_scalar": True}, {"hada_w1_a", "hada_w2_a"}),
        ({"algo": "lokr", "factor": 2, "network_dim": 2}, {"lokr_w2_a"}),
        (
            {"algo": "lokr", "factor": 4, "network_dim": 1, "decompose_both": True},
            {"lokr_w1_a", "lokr_w2_a"},
        ),
    ],
)
def test_loraplus_raises_the_rate_of_the_factors_on_the_output_side(
    options: dict[str, object], plus: set[str]
) -> None:
    alone = keys_by_group(options)
    assert set(alone) == {"model"}
    found = keys_by_group(options, loraplus_lr_ratio=16.0)
    assert found == {"model": alone["model"] - plus, "model plus": plus}


def test_loraplus_ratios_apply_to_each_model_and_to_layers_with_their_own_rate() -> None:
    targets = {"unet": UNet(), "text_encoder": TextEncoder()}
    overrides = (LayerOverride(match="attn1", learning_rate=1e-4),)
    network = build_network(targets, NetworkConfig(overrides=overrides))
    groups = network.param_groups(1e-3, loraplus_lr_ratio=4.0, loraplus_text_encoder_lr_ratio=2.0)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == pytest.approx(
        {
            "unet": 1e-3,
            "unet plus": 4e-3,
            "unet 0.0001": 1e-4,
            "unet 0.0001 plus": 4e-4,
            "text_encoder": 1e-3,
            "text_encoder plus": 2e-3,
        }
    )
    names = {g["name"] for g in network.param_groups(1e-3, loraplus_unet_lr_ratio=4.0)}
    assert "unet plus" in names and "text_encoder plus" not in names


def test_a_loraplus_ratio_without_a_factor_for_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loraplus_lr_ratio: .*no adapter of model") as caught:
        keys_by_group({"algo": "lokr", "full_matrix": True}, loraplus_lr_ratio=16.0)
    assert "such as lora or loha" in str(caught.value)

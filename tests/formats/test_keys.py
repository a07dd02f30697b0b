"""Keys are sd-scripts', whichever transformers named the module."""

from __future__ import annotations

import pytest

from lycoris_ext.formats.keys import key_prefix, split_key, target_of


@pytest.mark.parametrize(
    ("target", "path", "key"),
    [
        ("unet", "mid_block.resnets.0.conv1", "lora_unet_mid_block_resnets_0_conv1"),
        (
            "text_encoder",
            "text_model.encoder.layers.3.self_attn.q_proj",
            "lora_te_text_model_encoder_layers_3_self_attn_q_proj",
        ),
        (  # transformers 5 has no text_model level
            "text_encoder",
            "encoder.layers.3.self_attn.q_proj",
            "lora_te_text_model_encoder_layers_3_self_attn_q_proj",
        ),
        ("model", "blocks.0.fc", "lycoris_blocks_0_fc"),
    ],
)
def test_prefix(target: str, path: str, key: str) -> None:
    assert key_prefix(target, path) == key
    assert target_of(key) == target


def test_split() -> None:
    assert split_key("lora_unet_a.lora_up.weight") == ("lora_unet_a", "lora_up.weight")
    assert split_key("loose") == ("loose", "")

"""Module paths to kohya keys and back.

unet          down_blocks.0.attentions.0.proj_in   lora_unet_down_blocks_0_attentions_0_proj_in
text_encoder  text_model.encoder.layers.0.mlp.fc1  lora_te_text_model_encoder_layers_0_mlp_fc1
anything else fc.0                                 lycoris_fc_0
"""

from __future__ import annotations

_TARGET_PREFIX = {"unet": "lora_unet", "text_encoder": "lora_te"}
_PLAIN_PREFIX = "lycoris"


def key_prefix(target: str, module_path: str) -> str:
    """The key of one layer in a file, without the tensor's own name.

    transformers 5 dropped the ``text_model.`` level of CLIPTextModel; every file has it, so it is
    written either way.

    Args:
        target: "unet", "text_encoder", or any other name for a plain module.
        module_path: dotted path of the layer inside the target.
    """
    if target == "text_encoder" and not module_path.startswith("text_model."):
        module_path = f"text_model.{module_path}"
    prefix = _TARGET_PREFIX.get(target, _PLAIN_PREFIX)
    return f"{prefix}_{module_path.replace('.', '_')}"


def target_of(prefix: str) -> str:
    """The target that a key prefix names: "unet", "text_encoder" or "model"."""
    for target, start in _TARGET_PREFIX.items():
        if prefix.startswith(f"{start}_"):
            return target
    return "model"


def split_key(key: str) -> tuple[str, str]:
    """``lora_unet_x.lora_up.weight`` -> (``lora_unet_x``, ``lora_up.weight``)."""
    prefix, _, name = key.partition(".")
    return prefix, name

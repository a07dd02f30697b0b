"""A family's layers as sd-scripts' own network module and as ours name them, on meta tensors; run
by sd-scripts' Python in its folder.

Prints JSON: lists of names by who made them, and "trees", the models themselves (see
model_trees.py): text encoders in order, then the U-Net or transformer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import transformers
from model_trees import tree_of
from torch import nn

from lycoris_ext.kohya import create_network

sys.path.insert(0, os.getcwd())

Models = tuple[list[nn.Module], nn.Module]


def clip(wide: bool = False, projected: bool = False) -> nn.Module:
    """Return an empty CLIP-L, or CLIP-G."""
    sizes = (1280, 5120, 32, 20) if wide else (768, 3072, 12, 12)
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = transformers.CLIPTextConfig(**dict(zip(names, sizes, strict=True)))
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config)


def t5() -> nn.Module:
    config = transformers.T5Config(
        d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu", vocab_size=32128,
    )  # fmt: skip
    return transformers.T5EncoderModel(config)


def sd(second: bool) -> Models:
    """Return SD1 with CLIP-L, or SD2 with OpenCLIP-H."""
    models = import_module("library.original_unet")
    config = transformers.CLIPTextConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
    )
    unet = models.UNet2DConditionModel(
        sample_size=64,
        attention_head_dim=[5, 10, 20, 20] if second else 8,
        cross_attention_dim=1024 if second else 768,
        use_linear_projection=second,
    )
    return [transformers.CLIPTextModel(config) if second else clip()], unet


def sdxl() -> Models:
    models = import_module("library.sdxl_original_unet")
    return [clip(), clip(wide=True, projected=True)], models.SdxlUNet2DConditionModel()


def flux() -> Models:
    models = import_module("library.flux_models")
    return [clip(), t5()], models.Flux(models.configs["dev"].params)


def chroma() -> Models:
    models = import_module("library.chroma_models")
    return [clip(), t5()], models.Chroma(models.chroma_params)


def sd3(depth: int, qk_norm: str | None, own_attention: int) -> Models:
    models = import_module("library.sd3_models")
    params = models.SD3Params(
        patch_size=2, depth=depth, num_patches=36864, pos_embed_max_size=192,
        adm_in_channels=2048, qk_norm=qk_norm, x_block_self_attn_layers=list(range(own_attention)),
        context_embedder_in_features=4096, context_embedder_out_features=64 * depth,
        model_type="sd3",
    )  # fmt: skip
    encoders = [clip(projected=True), clip(wide=True, projected=True), t5()]
    return encoders, models.create_sd3_mmdit(params)


def lumina() -> Models:
    models = import_module("library.lumina_models")
    config = transformers.Gemma2Config(
        hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8,
        num_key_value_heads=4, head_dim=256, vocab_size=256000,
    )  # fmt: skip
    return [transformers.Gemma2Model(config)], models.NextDiT_2B_GQA_patch2_Adaln_Refiner()


def hunyuan_image() -> Models:
    models = import_module("library.hunyuan_image_models")
    # Neither Qwen2.5-VL nor byT5 is trained: any module with layers stands for them.
    return [t5(), t5()], models.HYImageDiffusionTransformer()


def anima() -> Models:
    models = import_module("library.anima_models")
    config = transformers.Qwen3Config.from_pretrained("configs/qwen3_06b", local_files_only=True)
    transformer = models.Anima(
        max_img_h=512, max_img_w=512, max_frames=128, in_channels=16, out_channels=16,
        patch_spatial=2, patch_temporal=1, model_channels=2048, crossattn_emb_channels=1024,
        pos_emb_cls="rope3d", pos_emb_learnable=True, use_adaln_lora=True, adaln_lora_dim=256,
        num_blocks=28, num_heads=16, use_llm_adapter=True,
    )  # fmt: skip
    return [transformers.Qwen3ForCausalLM(config).model], transformer


FAMILIES: dict[str, tuple[str, Callable[[], Models]]] = {
    "sd1": ("lora", lambda: sd(second=False)),
    "sd2": ("lora", lambda: sd(second=True)),
    "sdxl": ("lora", sdxl),
    "flux": ("lora_flux", flux),
    "chroma": ("lora_flux", chroma),
    "sd3": ("lora_sd3", lambda: sd3(24, None, 0)),
    "sd3.5-medium": ("lora_sd3", lambda: sd3(24, "rms", 13)),
    "sd3.5-large": ("lora_sd3", lambda: sd3(38, "rms", 0)),
    "lumina": ("lora_lumina", lumina),
    "hunyuan-image": ("lora_hunyuan_image", hunyuan_image),
    "anima": ("lora_anima", anima),
}
"""Family -> sd-scripts' module for it, and its models."""


def their_layers(module: str, encoders: Any, unet: nn.Module, **more: str) -> list[str]:
    networks: Any = import_module(f"networks.{module}")
    network = networks.create_network(1.0, 8, 4.0, None, encoders, unet, **more)
    return sorted(lora.lora_name for lora in network.text_encoder_loras + network.unet_loras)


def our_layers(encoders: Any, unet: nn.Module, **more: str) -> list[str]:
    return sorted(create_network(1.0, 8, 4.0, None, encoders, unet, **more).layers)


def main(family: str) -> None:
    module, build = FAMILIES[family]
    both = {"train_t5xxl": "True"}  # the spelling that sd-scripts reads; others do not mind
    with torch.device("meta"):
        encoders, unet = build()
        # The trainers of SD1 and SD2 pass their only text encoder itself.
        passed: Any = encoders[0] if family in ("sd1", "sd2") else encoders
        found = {
            "theirs": their_layers(module, passed, unet, conv_dim="4", **both),
            "ours": our_layers(passed, unet, conv_dim="4", **both),
            "ours without t5": our_layers(passed, unet, conv_dim="4"),
            "ours attn-mlp": our_layers(passed, unet, preset="attn-mlp"),
        }
    print("\n" + json.dumps(found | {"trees": [tree_of(model) for model in (*encoders, unet)]}))


if __name__ == "__main__":
    main(sys.argv[1])

"""Run inside ComfyUI: small models of its own classes, without a checkpoint."""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.getcwd())  # ComfyUI's folder
sys.argv = [sys.argv[0], "--cpu", *sys.argv[1:]]  # read when comfy is imported
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
ARGUMENTS = sys.argv[2:]
sys.argv = sys.argv[:2]

import comfy.model_patcher  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

_CPU = torch.device("cpu")
_UNET: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "channel_mult": [1, 2, 2, 2],
    "context_dim": 768,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "num_heads": 4,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "legacy": False,
    "dtype": torch.float32,
}


_FLUX: dict[str, Any] = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 24,
    "context_in_dim": 48,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "dtype": torch.float32,
}
#: ComfyUI's class -> its network's sizes, and the widths of the text that it takes.
FAMILIES: dict[str, tuple[dict[str, Any], int, int]] = {
    "SD15": (_UNET, 768, 768),
    "SD20": (
        # Its heads are 64 channels wide.
        {**_UNET, "model_channels": 64, "context_dim": 1024, "use_linear_in_transformer": True},
        1024,
        1024,
    ),
    "SDXL": (
        {
            **_UNET,
            "context_dim": 2048,
            "use_linear_in_transformer": True,
            "num_classes": "sequential",
            "adm_in_channels": 2816,
            "channel_mult": [1, 2, 4],
            "num_res_blocks": [2, 2, 2],
            "transformer_depth": [0, 0, 2, 2, 2, 2],
            "transformer_depth_output": [0, 0, 0, 2, 2, 2, 2, 2, 2],
            "transformer_depth_middle": 2,
        },
        2048,
        1280,
    ),
    "Flux": (_FLUX, 48, 24),
}


def small_model(family: str = "SD15") -> Any:
    """Return a MODEL of a family with few channels."""
    config = getattr(comfy.supported_models, family)(FAMILIES[family][0])
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device="cpu")
    _fill(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, load_device=_CPU, offload_device=_CPU)


def small_clip() -> Any:
    """Return a CLIP of two layers, in float32."""
    target = comfy.supported_models.SD15({}).clip_target({})
    layers = {"num_hidden_layers": 2, "intermediate_size": 64}
    options = {"clip_l_model_config": layers, "dtype": torch.float32}
    clip = comfy.sd.CLIP(target, model_options=options)
    _fill(clip.cond_stage_model.clip_l.transformer)
    return clip


@torch.no_grad()
def _fill(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            numbers = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(numbers * 0.7 / parameter[0].numel() ** 0.5)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)

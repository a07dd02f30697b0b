"""A tiny Stable Diffusion XL for AUTOMATIC1111, with two text encoders, and a grid drawn with it.

The second text encoder must be one that the host's OpenCLIP knows by name, so it is not as tiny.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.models.tokenizer import write_clip_tokenizer
from tests.hosts.base_model import cache_folder
from tests.hosts.webui import V1, Webui, draw, pixels, plain
from tests.hosts.webui_adapters import write_adapter
from tests.hosts.webui_model import CHANNELS, LEVELS, TEXT_WIDTH, text_config
from tests.single_files import single_file

UNET_LEVELS = (1, 2, 4)
DEPTHS = (1, 1, 2)
HEAD = 8
#: OpenCLIP's ViT-S-32-alt: width, heads and layers of its text encoder.
OPEN_CLIP, WIDTH_2, HEADS_2, LAYERS_2 = "ViT-S-32-alt", 256, 4, 10
PREVIEWS = {"live_previews_enable": True}
#: Numbers for a picture's size, its crop and its target's size.
SIZES = 6 * 256

CONFIG = """\
model:
  target: sgm.models.diffusion.DiffusionEngine
  params:
    scale_factor: 0.13025
    disable_first_stage_autocast: True
    denoiser_config:
      target: sgm.modules.diffusionmodules.denoiser.DiscreteDenoiser
      params:
        num_idx: 1000
        weighting_config:
          target: sgm.modules.diffusionmodules.denoiser_weighting.EpsWeighting
        scaling_config:
          target: sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling
        discretization_config:
          target: sgm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization
    network_config:
      target: sgm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        adm_in_channels: {pooled}
        num_classes: sequential
        use_checkpoint: True
        in_channels: 4
        out_channels: 4
        model_channels: {channels}
        attention_resolutions: [4, 2]
        num_res_blocks: 2
        channel_mult: {unet_levels}
        num_head_channels: {head}
        use_spatial_transformer: True
        use_linear_in_transformer: True
        transformer_depth: {depths}
        context_dim: {context}
        spatial_transformer_attn_type: softmax-xformers
        legacy: False
    conditioner_config:
      target: sgm.modules.GeneralConditioner
      params:
        emb_models:
          - is_trainable: False
            input_key: txt
            target: sgm.modules.encoders.modules.FrozenCLIPEmbedder
            params:
              version: {clip}
              layer: hidden
              layer_idx: 3
          - is_trainable: False
            input_key: txt
            target: sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2
            params:
              arch: {open_clip}
              version: none
              freeze: True
              layer: penultimate
              always_return_pooled: True
              legacy: False
          - is_trainable: False
            input_key: original_size_as_tuple
            target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND
            params: {{outdim: 256}}
          - is_trainable: False
            input_key: crop_coords_top_left
            target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND
            params: {{outdim: 256}}
          - is_trainable: False
            input_key: target_size_as_tuple
            target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND
            params: {{outdim: 256}}
    first_stage_config:
      target: sgm.models.autoencoder.AutoencoderKLInferenceWrapper
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          attn_type: vanilla-xformers
          double_z: true
          z_channels: 4
          resolution: 256
          in_channels: 3
          out_ch: 3
          ch: {channels}
          ch_mult: {levels}
          num_res_blocks: 2
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
"""


def tiny_sdxl_modules(seed: int = 0) -> dict[str, Any]:
    """SDXL's U-Net, autoencoder and text encoders with few channels, in float32."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    cross = "CrossAttn"
    widths = tuple(CHANNELS * level for level in LEVELS)
    unet_widths = tuple(CHANNELS * level for level in UNET_LEVELS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=unet_widths,
            down_block_types=("DownBlock2D", f"{cross}DownBlock2D", f"{cross}DownBlock2D"),
            up_block_types=(f"{cross}UpBlock2D", f"{cross}UpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=DEPTHS,
            attention_head_dim=tuple(width // HEAD for width in unet_widths),
            cross_attention_dim=TEXT_WIDTH + WIDTH_2,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=WIDTH_2 + SIZES,
        )
        vae = AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        )
        first = CLIPTextModel(text_config(CLIPTextConfig))
        second = CLIPTextModelWithProjection(
            text_config(
                CLIPTextConfig,
                hidden_size=WIDTH_2,
                intermediate_size=4 * WIDTH_2,
                num_hidden_layers=LAYERS_2,
                num_attention_heads=HEADS_2,
                projection_dim=WIDTH_2,
                hidden_act="gelu",
            )
        )
    return {"unet": unet, "vae": vae, "text_encoder": first, "text_encoder_2": second}


def tiny_sdxl() -> Path:
    """Folder of one checkpoint, tiny-xl, with what the host needs beside it; made if missing."""
    from transformers import CLIPTextConfig

    folder = cache_folder() / "webui-tiny-xl-1"
    path = folder / "tiny-xl.safetensors"
    if path.with_suffix(".yaml").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    modules = tiny_sdxl_modules()
    encoders = [modules["text_encoder"], modules["text_encoder_2"]]
    weights = single_file(FAMILIES["sdxl"], modules["unet"], modules["vae"], encoders)
    safetensors.torch.save_file({k: v.contiguous() for k, v in weights.items()}, path)
    clip = folder / "clip"
    clip.mkdir(exist_ok=True)
    write_clip_tokenizer(clip)
    config = {**text_config(CLIPTextConfig).to_dict(), "model_type": "clip_text_model"}
    (clip / "config.json").write_text(json.dumps(config), encoding="utf-8")
    text = CONFIG.format(
        channels=CHANNELS,
        levels=list(LEVELS),
        unet_levels=list(UNET_LEVELS),
        depths=list(DEPTHS),
        head=HEAD,
        context=TEXT_WIDTH + WIDTH_2,
        pooled=WIDTH_2 + SIZES,
        open_clip=OPEN_CLIP,
        clip=json.dumps(str(clip)),
    )
    path.with_suffix(".yaml").write_text(text, encoding="utf-8")
    return folder


def test_a_grid_of_sdxl_is_what_the_host_draws_with_its_own_tag(host: Webui) -> None:
    checkpoints = host.data / "models" / "Stable-diffusion"
    shutil.copytree(tiny_sdxl(), checkpoints, dirs_exist_ok=True)
    run = host.data / "runs" / "xl"
    for kind in ("loha", "lokr"):
        write_adapter(run / f"{kind}.safetensors", kind, modules=tiny_sdxl_modules())
    host.post("/sdapi/v1/refresh-checkpoints")
    # For the previews of an SDXL picture the host would download a model.
    host.post("/sdapi/v1/options", dict.fromkeys(PREVIEWS, False))
    before = host.get("/sdapi/v1/options")["sd_model_checkpoint"]
    (title,) = (m["title"] for m in host.get("/sdapi/v1/sd-models") if "tiny-xl" in m["title"])
    files = [str(run / f"{kind}.safetensors") for kind in ("loha", "lokr")]
    job = draw(host, *files, base_models=[title], strengths=["0.7"])
    assert job["state"] == "complete", job["problem"]
    (row,) = job["cells"]
    assert [cell["fault"] for cell in row] == [""] * 3
    host.post("/sdapi/v1/options", {"sd_model_checkpoint": title})
    try:
        verdicts = host.post(f"{V1}/check", {"files": files})
        assert all("layers fit" in each["verdict"] for each in verdicts)
        for name in ("loha", "lokr"):
            shutil.copyfile(run / f"{name}.safetensors", host.loras / f"xl_{name}.safetensors")
        host.post("/sdapi/v1/refresh-loras")
        prompts = ("a cat", "a cat <lora:xl_loha:0.7>", "a cat <lora:xl_lokr:0.7>")
        drawn = [plain(host, prompt) for prompt in prompts]
    finally:
        host.post("/sdapi/v1/options", {"sd_model_checkpoint": before, **PREVIEWS})
        for path in checkpoints.glob("tiny-xl.*"):
            path.unlink()  # the other tests expect two base models
        host.post("/sdapi/v1/refresh-checkpoints")
    assert len(set(drawn)) == 3
    assert [pixels(cell["path"]) for cell in row] == drawn

"""Build U-Nets of real shape with random weights, and a training step over one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lycoris_ext.models.part_configs import LOADED, config_folder

Step = Callable[[], None]
TEXT_TOKENS = 77
_TINY = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 32,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}


@dataclass(frozen=True)
class Model:
    """A U-Net that is measured.

    Attributes:
        title: its name in tables.
        family: the model family whose config it has; "" is a tiny one, for trying out a script.
        summary: width of SDXL's pooled text embedding; 0 if the model has none.
        share_weights: whether all frozen weights are views of one buffer, because in float32 they
            would not fit into memory. The processor's cache may then hold more of them.
    """

    title: str
    family: str
    summary: int = 0
    share_weights: bool = False


MODELS = {
    "sd15": Model("SD1.5", "sd1"),
    "sdxl": Model("SDXL", "sdxl", summary=1280, share_weights=True),
    "tiny": Model("tiny", ""),
}


def make_unet(
    name: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    share_weights: bool = False,
) -> UNet2DConditionModel:
    """Build a frozen U-Net in training mode, with weights from a normal distribution of std 0.02.

    Args:
        name: a key of `MODELS`.
        device: a torch device; "meta" makes weights without values.
        dtype: type of the weights.
        share_weights: see `Model`.
    """
    family = MODELS[name].family
    config: Any = _TINY
    if family:
        folder = config_folder(LOADED[family], "unet")
        config = UNet2DConditionModel.load_config(str(folder), local_files_only=True)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    if device == "meta":
        return unet.requires_grad_(False).train()
    generator = torch.Generator(device).manual_seed(0)

    def normal(count: int) -> Tensor:
        empty = torch.empty(count, device=device, dtype=dtype)
        return empty.normal_(0, 0.02, generator=generator)

    state = unet.state_dict()
    buffer = normal(max(tensor.numel() for tensor in state.values())) if share_weights else None
    weights = {
        key: (normal(tensor.numel()) if buffer is None else buffer[: tensor.numel()]).view(
            tensor.shape
        )
        for key, tensor in state.items()
    }
    unet.load_state_dict(weights, assign=True)
    return unet.requires_grad_(False).train()


def twin(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Copy a U-Net's modules but share its weights, so that each library adapts its own modules."""
    return copy.deepcopy(unet, {id(weight): weight for weight in unet.parameters()})


def make_step(
    unet: UNet2DConditionModel,
    name: str,
    latents: int,
    batch: int,
    parameters: Sequence[Tensor],
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Step:
    """Return a function that does one forward and backward, without optimizer.

    The backward computes gradients of the inputs and of the adapter's parameters.

    Args:
        unet: the U-Net, with or without adapter.
        name: its key in `MODELS`.
        latents: height and width of the latents.
        batch: number of pictures.
        parameters: the adapter's parameters, whose gradients are cleared after every step.
        autocast: makes the autocast context of the forward.
    """
    weight = unet.conv_in.weight
    model = MODELS[name]
    generator = torch.Generator(weight.device).manual_seed(1)

    def normal(*shape: int, dtype: torch.dtype = weight.dtype) -> Tensor:
        return torch.randn(shape, generator=generator, device=weight.device, dtype=dtype)

    noisy = normal(batch, 4, latents, latents, dtype=torch.float32).requires_grad_()
    text = normal(batch, TEXT_TOKENS, unet.config.cross_attention_dim).requires_grad_()
    timesteps = torch.full((batch,), 500, device=weight.device)
    added = None
    if model.summary:
        sizes = [8.0 * latents, 8.0 * latents, 0.0, 0.0, 8.0 * latents, 8.0 * latents]
        added = {
            "text_embeds": normal(batch, model.summary),
            "time_ids": torch.tensor([sizes] * batch, device=weight.device, dtype=weight.dtype),
        }
    cleared = (noisy, text, *parameters)

    def step() -> None:
        with autocast():
            out = unet(noisy, timesteps, encoder_hidden_states=text, added_cond_kwargs=added).sample
        out.float().square().mean().backward()
        for tensor in cleared:
            tensor.grad = None

    return step

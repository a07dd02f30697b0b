"""Pictures drawn with ComfyUI's own samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from .images import to_pictures
from .widgets import Widget


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn.

    Args:
        negative: prompt.
        steps, cfg, sampler_name, scheduler: as KSampler takes them.
        width, height: in pixels.
    """

    negative: str
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    width: int
    height: int


def drawing_widgets() -> tuple[Widget, ...]:
    """KSampler's inputs."""
    from comfy.samplers import KSampler

    return (
        Widget(
            "steps", "INT", {"default": 20, "min": 1, "max": 10000, "tooltip": "Denoising steps."}
        ),
        Widget(
            "cfg",
            "FLOAT",
            {
                "default": 7.0,
                "min": 0.0,
                "max": 100.0,
                "step": 0.1,
                "tooltip": "How strictly the prompt is followed.",
            },
        ),
        Widget(
            "sampler_name",
            list(KSampler.SAMPLERS),
            {"default": "euler", "tooltip": "ComfyUI's sampler."},
        ),
        Widget(
            "scheduler",
            list(KSampler.SCHEDULERS),
            {"default": "normal", "tooltip": "ComfyUI's scheduler."},
        ),
    )


@torch.no_grad()
def draw(
    model: Any,
    clip: Any,
    vae: Any,
    prompt: str,
    seed: int,
    how: Drawing,
    step: Callable[[int, int], object] | None = None,
) -> Image.Image:
    """One picture.

    Args:
        model, clip, vae: ComfyUI's.
        prompt: in ComfyUI's own syntax.
        seed: of the noise.
        how: everything else.
        step: called with (done, total) after each denoising step.
    """
    from comfy.sample import fix_empty_latent_channels, prepare_noise, sample

    factor = int(vae.spacial_compression_encode())
    channels = model.get_model_object("latent_format").latent_channels
    empty = torch.zeros([1, channels, how.height // factor, how.width // factor])
    empty = fix_empty_latent_channels(model, empty)

    def told(done: int, denoised: Any, latents: Any, total: int) -> None:
        if step is not None:
            step(done + 1, total)

    latents = sample(
        model,
        prepare_noise(empty, seed),
        how.steps,
        how.cfg,
        how.sampler_name,
        how.scheduler,
        _encode(clip, prompt),
        _encode(clip, how.negative),
        empty,
        callback=told,
        disable_pbar=True,
        seed=seed,
    )
    images = vae.decode(latents)
    (picture,) = to_pictures(images.reshape(-1, *images.shape[-3:])[:1])
    return picture


def _encode(clip: Any, text: str) -> Any:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))

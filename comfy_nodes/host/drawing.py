"""Draw pictures with ComfyUI's own samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lycoris_ext.diffusion.unusable import why_unusable
from lycoris_ext.grids.cells import Painted

from .images import to_pictures
from .widgets import Widget


@dataclass(frozen=True)
class Drawing:
    """All settings of a picture except its prompt and seed.

    Args:
        negative: negative prompt.
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
    """Return node inputs for steps, cfg, sampler_name and scheduler, as KSampler has them."""
    from comfy.samplers import KSampler

    return (
        Widget(
            "steps",
            "INT",
            {"default": 20, "min": 1, "max": 10000, "tooltip": "Number of denoising steps."},
        ),
        Widget(
            "cfg",
            "FLOAT",
            {
                "default": 7.0,
                "min": 0.0,
                "max": 100.0,
                "step": 0.1,
                "tooltip": "CFG scale: how strictly pictures follow the prompt.",
            },
        ),
        Widget(
            "sampler_name",
            list(KSampler.SAMPLERS),
            {"default": "euler", "tooltip": "Sampler, as in ComfyUI's KSampler."},
        ),
        Widget(
            "scheduler",
            list(KSampler.SCHEDULERS),
            {"default": "normal", "tooltip": "Scheduler, as in ComfyUI's KSampler."},
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
) -> Painted:
    """Draw one picture; if it became NaN or infinite, and would be black, it has a fault.

    Args:
        model, clip, vae: ComfyUI's.
        prompt: in ComfyUI's syntax, where (word:1.2) weighs a word.
        seed: of the noise.
        how: all other settings.
        step: called with (done, total) after each denoising step.
    """
    from comfy.sample import fix_empty_latent_channels, prepare_noise, sample

    factor = int(vae.spacial_compression_encode())
    channels = model.get_model_object("latent_format").latent_channels
    empty = torch.zeros([1, channels, how.height // factor, how.width // factor])
    empty = fix_empty_latent_channels(model, empty)

    def after_step(done: int, denoised: Any, latents: Any, total: int) -> None:
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
        callback=after_step,
        disable_pbar=True,
        seed=seed,
    )
    images = vae.decode(latents)
    images = images.reshape(-1, *images.shape[-3:])[:1]
    (picture,) = to_pictures(images)
    fault = why_unusable(latents, images)
    return Painted(picture, fault=fault and f"it {fault}")


def _encode(clip: Any, text: str) -> Any:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))

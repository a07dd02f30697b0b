"""The specification of one picture: prompt, seed, sampler, size."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.errors import ConfigError
from lycoris_ext.options.texts import fault_of_text
from lycoris_ext.sampling.samplers import canonical_sampler
from lycoris_ext.words import count

#: The largest seed that torch's generators accept on every platform.
MAX_SEED = 2**63 - 1
#: Models are trained for 1000 steps of noise; there are no more to take away.
MOST_STEPS = 1000
#: Pixels.
LONGEST_SIDE = 8192
LARGEST_SCALE = 1000


@dataclass(frozen=True)
class PromptSpec:
    """Everything that decides a picture, given the model and its adapters.

    Args:
        prompt: the prompt.
        negative_prompt: the negative prompt; it has no effect if `cfg_scale` is 1.
        seed: seed of the starting noise.
        steps: number of denoising steps.
        cfg_scale: scale of classifier-free guidance; 1 turns it off.
        width, height: size in pixels; None uses the model's native size.
        sampler: AUTOMATIC1111's name in any case, or sd-scripts' name; stored as the former.

    Raises:
        ConfigError: a value is out of range, or there is no such sampler.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 20
    cfg_scale: float = 7.0
    width: int | None = None
    height: int | None = None
    sampler: str = "Euler"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", canonical_sampler(self.sampler))
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            if fault := fault_of_text(text):
                raise ConfigError(f"{text!r} {fault}", where=name, fix="correct the text")
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(
                f"the seed is {self.seed}", where="seed", fix=f"use a number from 0 to {MAX_SEED}"
            )
        if not 1 <= self.steps <= MOST_STEPS:
            raise ConfigError(
                f"{count(self.steps, 'denoising step')} asked for",
                where="steps",
                fix=f"use 1 to {MOST_STEPS}",
            )
        if not 0 <= self.cfg_scale <= LARGEST_SCALE:
            raise ConfigError(
                f"cfg_scale is {self.cfg_scale}, and numbers from 0 to {LARGEST_SCALE} are allowed",
                where="cfg_scale",
                fix="use 1 (off) to about 15",
            )
        for name, size in (("width", self.width), ("height", self.height)):
            if size is not None and not 1 <= size <= LONGEST_SIDE:
                raise ConfigError(
                    f"{name} is {size} pixels, and 1 to {LONGEST_SIDE} are drawn",
                    where=name,
                    fix="leave it out for the model's size",
                )


def check_multiple(name: str, pixels: int, factor: int, drawer: str) -> None:
    """Refuse a picture size that is no whole number of latents.

    Args:
        name: "width" or "height".
        pixels: the requested size.
        factor: pixels per latent along a side, usually 8.
        drawer: name of the model or program that draws, for the message.

    Raises:
        ConfigError: the size is no multiple of the factor.
    """
    if pixels % factor:
        lower = pixels // factor * factor
        near = f"{lower} or {lower + factor}" if lower else str(factor)
        raise ConfigError(
            f"{name} is {pixels} pixels, and {drawer} draws in multiples of {factor}",
            where=name,
            fix=f"use {near}",
        )

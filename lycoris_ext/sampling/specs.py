"""What one picture is asked to be."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.errors import ConfigError
from lycoris_ext.sampling.samplers import canonical_sampler

#: A seed is a 63-bit number, because that is what torch's generators take everywhere.
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class PromptSpec:
    """One picture: the same spec on the same model gives the same picture.

    Args:
        prompt: what is to be seen.
        negative_prompt: what is to be kept away; counts only where `cfg_scale` is not 1.
        seed: of the noise the picture starts from.
        steps: denoising steps.
        cfg_scale: classifier-free guidance; 1 turns it off.
        width, height: in pixels; None takes the size that the model was made for.
        sampler: a name of `samplers.SAMPLERS`, in any case.

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
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(
                f"the seed is {self.seed}", where="seed", fix=f"use a number from 0 to {MAX_SEED}"
            )
        if self.steps < 1:
            raise ConfigError(
                f"{self.steps} denoising steps are asked for", where="steps", fix="use 1 or more"
            )
        if not self.cfg_scale >= 0:
            raise ConfigError(
                f"cfg_scale is {self.cfg_scale}", where="cfg_scale", fix="use 1 (off) to about 15"
            )
        for name, size in (("width", self.width), ("height", self.height)):
            if size is not None and size < 1:
                raise ConfigError(
                    f"{name} is {size} pixels", where=name, fix="leave it out for the model's size"
                )


def check_multiple(name: str, pixels: int, factor: int, drawer: str) -> None:
    """Refuse a size that is no whole number of latents.

    Args:
        name: width or height.
        pixels: what was asked for.
        factor: pixels a latent.
        drawer: who draws, in words.

    Raises:
        ConfigError: it is no multiple of the factor.
    """
    if pixels % factor:
        lower = pixels // factor * factor
        near = f"{lower} or {lower + factor}" if lower else str(factor)
        raise ConfigError(
            f"{name} is {pixels} pixels, and {drawer} draws in multiples of {factor}",
            where=name,
            fix=f"use {near}",
        )

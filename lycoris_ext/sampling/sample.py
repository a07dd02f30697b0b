"""Draw pictures from specs: the denoising loop with classifier-free guidance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from lycoris_ext.diffusion.unusable import why_unusable
from lycoris_ext.errors import ConfigError, DivergedError, Faults
from lycoris_ext.models import Pipeline
from lycoris_ext.models.pipeline import to_picture
from lycoris_ext.sampling.samplers import build_sampler, step_arguments
from lycoris_ext.sampling.specs import PromptSpec, check_multiple
from lycoris_ext.words import short

#: Called with (done, total), both counted as calls of the U-Net per picture.
Progress = Callable[[int, int], None]
_Item = TypeVar("_Item")
_FIX = "draw in float32, or without an adapter whose numbers are too large"


@dataclass(frozen=True)
class Sampled:
    """A picture (RGB), and why it shows nothing; "" if all of its numbers are finite."""

    picture: Image.Image
    fault: str = ""


def sample_pictures(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    batch_size: int = 8,
    clip_skip: int | None = None,
    progress: Progress | None = None,
) -> list[Image.Image]:
    """Draw one picture per spec, as `sample_each` does, which explains the arguments.

    Raises:
        DivergedError: a picture became NaN or infinite, and would be black.
        ConfigError, EnvironmentFault: as `sample_each`.
    """
    drawn = sample_each(pipeline, specs, batch_size, clip_skip, progress)
    Faults(
        DivergedError(f"the picture {each.fault}", where=short(spec.prompt, 60), fix=_FIX)
        for spec, each in zip(specs, drawn, strict=True)
        if each.fault
    ).raise_all()
    return [each.picture for each in drawn]


def sample_each(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    batch_size: int = 8,
    clip_skip: int | None = None,
    progress: Progress | None = None,
) -> list[Sampled]:
    """Draw one picture per spec, with the adapters that are injected into the pipeline, if any.

    A picture depends only on its spec: each starts from noise of its own CPU generator, so that
    batch size, other pictures and device do not change it, except for rounding. Torch's global
    random generators are not touched. A prompt of more than 75 tokens is read to its end, in pieces
    of 75 as in training with a larger max_token_length.

    Args:
        pipeline: the base model.
        specs: prompt, seed, size, sampler and so on of each picture, in any mixture.
        batch_size: how many pictures are denoised at once.
        clip_skip: use the text encoder's layer N from the end; None uses the pipeline's setting.
        progress: called with (done, total) after every denoising step.

    Returns:
        The pictures in the order of `specs`; one that became NaN or infinite has a fault.

    Raises:
        ConfigError: a size is no multiple of the model's latent factor, or the sampler does not fit
            the model.
        EnvironmentFault: a sampler needs a package that is not installed.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}", where="batch_size", fix="use 1 or more")
    groups: dict[tuple[int, str, tuple[int, int], int], list[int]] = {}
    for index, spec in enumerate(specs):
        size = _latent_size(spec, pipeline)
        key = (spec.steps, spec.sampler, size, _pieces(spec, pipeline))
        groups.setdefault(key, []).append(index)

    total = sampling_calls(pipeline, specs)
    pictures: dict[int, Sampled] = {}
    done = 0
    for indices in groups.values():
        for batch in _chunks(indices, batch_size):
            chosen = [specs[index] for index in batch]

            def step_done(pictures_in_batch: int = len(batch)) -> None:
                nonlocal done
                done += pictures_in_batch
                if progress is not None:
                    progress(done, total)

            latents = _denoise(pipeline, chosen, clip_skip, step_done)
            pixels = pipeline.decode_pixels(latents)
            for index, before, after in zip(batch, latents, pixels, strict=True):
                pictures[index] = Sampled(to_picture(after), why_unusable(before, after))
    return [pictures[index] for index in range(len(specs))]


def sampling_calls(pipeline: Pipeline, specs: Sequence[PromptSpec]) -> int:
    """Count the U-Net calls that drawing some pictures takes, summed over the pictures.

    It is one call per denoising step, and nearly two with samplers of second order.
    """
    counts = Counter((spec.sampler, spec.steps) for spec in specs)
    return sum(
        count * len(build_sampler(name, pipeline.schedule_config, steps).timesteps)
        for (name, steps), count in counts.items()
    )


@torch.no_grad()  # not inference_mode: later training could not use what adapters cache in it
def _denoise(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    clip_skip: int | None,
    step_done: Callable[[], None],
) -> Tensor:
    """Return denoised latents (B, C, h, w).

    All specs must share steps, sampler, size and number of pieces of their prompts.
    """
    height, width = _latent_size(specs[0], pipeline)
    shape = (1, pipeline.latent_channels, height, width)
    generators = [torch.Generator("cpu").manual_seed(spec.seed) for spec in specs]
    noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    sampler = build_sampler(specs[0].sampler, pipeline.schedule_config, specs[0].steps)
    latents = noise.to(pipeline.device) * sampler.init_noise_sigma

    scales = torch.tensor([spec.cfg_scale for spec in specs], device=pipeline.device)
    scales = scales.view(-1, 1, 1, 1)
    guided = any(spec.cfg_scale != 1 for spec in specs)
    captions = [spec.negative_prompt for spec in specs] if guided else []
    captions += [spec.prompt for spec in specs]
    text = pipeline.encode_text(captions, clip_skip, _pieces(specs[0], pipeline))
    pixels = (height * pipeline.latent_factor, width * pipeline.latent_factor)
    sizes = [(*pixels, 0, 0, *pixels)] * len(captions)
    more = step_arguments(sampler, generators)
    for timestep in sampler.timesteps:
        scaled = sampler.scale_model_input(latents, timestep)
        inputs = torch.cat([scaled, scaled]) if guided else scaled
        output = pipeline.predict(inputs, timestep, text, sizes).float()
        if guided:
            without, with_prompt = output.chunk(2)
            output = without + scales * (with_prompt - without)
        latents = sampler.step(output, timestep, latents, **more).prev_sample
        step_done()
    return latents


def _pieces(spec: PromptSpec, pipeline: Pipeline) -> int:
    """Return into how many pieces the prompts of a picture are split, see `models.tokens`."""
    used = (spec.prompt, spec.negative_prompt) if spec.cfg_scale != 1 else (spec.prompt,)
    return max(pipeline.pieces_of(text) for text in used)


def _latent_size(spec: PromptSpec, pipeline: Pipeline) -> tuple[int, int]:
    """Return a picture's (height, width) in latents."""
    factor = pipeline.latent_factor
    sizes = []
    for name, asked in (("height", spec.height), ("width", spec.width)):
        pixels = pipeline.picture_size if asked is None else asked
        check_multiple(name, pixels, factor, pipeline.name)
        sizes.append(pixels // factor)
    return sizes[0], sizes[1]


def _chunks(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""Train on latents that other nodes have encoded, without a VAE.

The recipe reads pictures from files. Each latent therefore gets a small file in the temporary
folder: a black picture of its size whose first pixels hold the latent's hash. Where the VAE would
encode such a picture, the latent of this hash is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from math import ceil, sqrt
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lycoris_ext.errors import ConfigError

from .images import png

FACTOR = 8
"""Number of pixels along the side of a latent in these pictures."""
_BYTES = 2 * FACTOR  # the smallest latents are two wide

Latents = Mapping[str, Tensor]
"""Hash, as 32 hexadecimal digits -> latent, float32 [C, h, w], as a VAE of ComfyUI gives it."""


def single_latents(given: Iterable[Any]) -> list[tuple[str, Tensor]]:
    """Take ComfyUI's LATENTs apart.

    Args:
        given: LATENTs, each a batch of any size.

    Returns:
        Hash and latent of each, in their order.

    Raises:
        ConfigError: they are of videos, or too small.
    """
    found = []
    for latent in given:
        samples = latent["samples"]
        if samples.ndim != 4 or min(samples.shape[2:]) < 2:
            raise ConfigError(
                f"a latent has the shape {tuple(samples.shape)}",
                where="latents",
                fix="connect latents of pictures: batches, channels, height and width of 2 or more",
            )
        for one in samples.detach().cpu().float():
            content = one.contiguous()
            digest = hashlib.blake2b(str(tuple(content.shape)).encode(), digest_size=_BYTES)
            digest.update(content.numpy().tobytes())
            found.append((digest.hexdigest(), content.clone()))
    return found


def marked_picture(digest: str, latent: Tensor) -> bytes:
    """Return the PNG file that stands for a latent."""
    _, height, width = latent.shape
    pixels = np.zeros((height * FACTOR, width * FACTOR, 3), np.uint8)
    pixels[0, :_BYTES] = np.frombuffer(bytes.fromhex(digest), np.uint8)[:, None]
    return png(Image.fromarray(pixels))


def latent_of(pixels: Tensor, latents: Latents) -> Tensor:
    """Return the latent that a picture stands for, [1, C, h, w].

    Args:
        pixels: [1, 3, H, W] in [-1, 1].
        latents: hash -> latent.
    """
    numbers = ((pixels[0, 0, 0, :_BYTES] + 1.0) * 127.5).round().to(torch.uint8)
    return latents[bytes(numbers.tolist()).hex()][None]


def whole_pictures(latents: Latents) -> dict[str, Any]:
    """Return the options of a data set that cuts nothing off pictures of these sizes."""
    sides = [side * FACTOR for latent in latents.values() for side in latent.shape[1:]]
    areas = [latent.shape[1] * latent.shape[2] for latent in latents.values()]
    return {
        "resolution": ceil(sqrt(max(areas))) * FACTOR,
        "enable_bucket": True,
        "bucket_no_upscale": True,
        "bucket_reso_steps": FACTOR,
        "min_bucket_reso": min(sides),
        "max_bucket_reso": max(sides),
    }

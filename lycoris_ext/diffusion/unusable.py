"""Notice a picture that shows nothing, because the numbers that it was drawn with overflowed."""

from __future__ import annotations

import torch
from torch import Tensor


def why_unusable(latents: Tensor, pixels: Tensor) -> str:
    """Return why a drawn picture shows nothing; "" if all of its numbers are finite.

    Saved as it is, such a picture would be black.

    Args:
        latents: of one picture, as the sampler left them.
        pixels: what the VAE made of them.
    """
    if not bool(torch.isfinite(latents).all()):
        return "became NaN or infinite while it was denoised"
    if not bool(torch.isfinite(pixels).all()):
        return (
            "was denoised well, and the VAE turned it into NaN or infinity, as some VAEs do in "
            "half precision"
        )
    return ""

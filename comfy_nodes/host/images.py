"""Convert between ComfyUI's IMAGE, a float tensor [B, H, W, 3] in [0, 1], and Pillow's images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Convert an IMAGE, [B, H, W, 3 or 4] in [0, 1], to B pictures; drop a fourth channel."""
    found = []
    for image in images:
        numbers = (image[..., :3].detach().float().cpu().clamp(0, 1) * 255.0).round()
        found.append(Image.fromarray(numbers.to(torch.uint8).numpy()))
    return found


def to_image(pictures: Sequence[Image.Image]) -> Tensor:
    """Convert pictures to an IMAGE, float32 [B, H, W, 3]; scale all to the size of the first."""
    size = pictures[0].size
    batch = []
    for picture in pictures:
        same = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
        batch.append(torch.from_numpy(np.array(same.convert("RGB"))).float() / 255.0)
    return torch.stack(batch)


def opened(path: Path) -> Image.Image:
    """Read a PNG file whole."""
    with Image.open(path, formats=["PNG"]) as picture:
        return picture.convert("RGB")


def png(picture: Image.Image) -> bytes:
    """Encode a picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()

"""Sheets of pictures, for people to look at."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image
from torch import Tensor


def to_image(picture: Tensor) -> Image.Image:
    """One uint8 tensor [3, H, W] as an image."""
    height, width = picture.shape[-2:]
    return Image.frombytes(
        "RGB", (width, height), bytes(picture.permute(1, 2, 0).contiguous().flatten().tolist())
    )


def save_grid(pictures: Tensor, path: Path, columns: int, enlarge: int = 1) -> None:
    """Write uint8 pictures [N, 3, H, W] row by row as one PNG."""
    count, _, height, width = pictures.shape
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(to_image(picture), (index % columns * width, index // columns * height))
    if enlarge > 1:
        sheet = sheet.resize(
            (sheet.width * enlarge, sheet.height * enlarge), Image.Resampling.NEAREST
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    sheet.save(part, format="PNG")
    os.replace(part, path)

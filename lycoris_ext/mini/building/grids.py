"""Write tensors of pictures as PNG grids, for people to look at."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor

from lycoris_ext.plots.grid import comparison_grid
from lycoris_ext.plots.png import save_picture


def to_image(picture: Tensor) -> Image.Image:
    """Turn a uint8 tensor [3, H, W] into an RGB image."""
    height, width = picture.shape[-2:]
    return Image.frombytes(
        "RGB", (width, height), bytes(picture.permute(1, 2, 0).contiguous().flatten().tolist())
    )


def save_grid(pictures: Tensor, path: Path, columns: int, enlarge: int = 1) -> None:
    """Write uint8 pictures [N, 3, H, W] as one PNG without labels, `columns` in each row."""
    cells: list[Image.Image | None] = [to_image(picture) for picture in pictures]
    cells += [None] * (-len(cells) % columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    save_picture(path, comparison_grid(rows, [""] * len(rows), [""] * columns, scale=enlarge))

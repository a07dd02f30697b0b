"""Writes a few captioned pictures in sd-scripts' layout."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

TAGS = ("red", "blue", "round", "square", "small", "large", "bright", "dark", "tilted", "plain")


def write_pictures(
    parent: Path, count: int = 6, repeats: int = 2, size: tuple[int, int] = (36, 36)
) -> Path:
    """Write `count` captioned pictures into parent/<repeats>_shapes.

    Returns:
        The parent, which is what train_data_dir wants.
    """
    folder = parent / f"{repeats}_shapes"
    folder.mkdir(parents=True)
    for number in range(count):
        write_picture(folder / f"{number:02d}.png", number, size)
        tags = [TAGS[(number + step * 3) % len(TAGS)] for step in range(4)]
        caption = ", ".join(["by tester", *tags])
        (folder / f"{number:02d}.txt").write_text(caption, encoding="utf-8")
    return parent


def write_picture(path: Path, number: int = 0, size: tuple[int, int] = (36, 36)) -> None:
    """Draw one picture; another number, another picture."""
    picture = Image.new("RGB", size, (40 * number % 256, 90, 255 - 30 * number % 256))
    ImageDraw.Draw(picture).ellipse((3, 3, 6 + 2 * number, 12), fill="white")
    picture.save(path)

"""Draw sets of pictures in several processes and store them for the training stages."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lycoris_ext.mini.building.stage import save_atomically
from lycoris_ext.mini.drawings.pictures import SIZE, PictureSource

Order = tuple[str, str, int]
"""A picture to draw: (style, subject, seed); subject "" means the character."""


@dataclass(frozen=True)
class PictureSet:
    """A set of N pictures with their labels.

    Args:
        pixels: uint8 [N, 3, 64, 64].
        styles, subjects, captions: lists of N, one entry per picture.
    """

    pixels: Tensor
    styles: list[str]
    subjects: list[str]
    captions: list[str]

    def __add__(self, other: PictureSet) -> PictureSet:
        return PictureSet(
            torch.cat([self.pixels, other.pixels]),
            self.styles + other.styles,
            self.subjects + other.subjects,
            self.captions + other.captions,
        )


def make_source(name: str, emoji_folder: Path | None) -> PictureSource:
    """Make the source of pictures "drawn", or "emoji" from a folder of npm packages."""
    if name == "drawn":
        from lycoris_ext.mini.drawings.drawn import DrawnSource

        return DrawnSource()
    if name != "emoji" or emoji_folder is None:
        raise ValueError(f"source {name!r}: expected 'drawn', or 'emoji' with --emoji-folder")
    from lycoris_ext.mini.building.emoji_source import EmojiSource

    return EmojiSource(emoji_folder)


@functools.cache
def _source_of_this_process(name: str, emoji_folder: Path | None) -> PictureSource:
    return make_source(name, emoji_folder)


def _draw(order: Order, name: str, emoji_folder: Path | None) -> tuple[bytes, str, str, str]:
    source = _source_of_this_process(name, emoji_folder)
    style, subject, seed = order
    picture = source.draw(style, subject, seed) if subject else source.draw_character(style, seed)
    # Return bytes, since every tensor sent between processes would use a file descriptor.
    return picture.image.tobytes(), picture.style, picture.subject, picture.caption


def _worker_threads() -> None:
    # One drawing process per core already fills the machine.
    torch.set_num_threads(1)


def draw_set(
    path: Path, orders: Sequence[Order], name: str, emoji_folder: Path | None, processes: int
) -> PictureSet:
    """Draw a set of pictures in several processes and store it, or load it if it is stored.

    Args:
        path: file of the stored set.
        orders: the pictures to draw; they are not compared with a set that is stored already.
        name: the source, see `make_source`.
        emoji_folder: folder of npm packages for the source "emoji", else None.
        processes: number of processes.
    """
    if not path.is_file():
        draw = functools.partial(_draw, name=name, emoji_folder=emoji_folder)
        with multiprocessing.get_context("spawn").Pool(processes, _worker_threads) as pool:
            pixels, styles, subjects, captions = zip(
                *pool.imap(draw, orders, chunksize=64), strict=True
            )
        flat = torch.frombuffer(bytearray(b"".join(pixels)), dtype=torch.uint8)
        rows = flat.view(-1, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()
        stored = {"pixels": rows, "words": [list(styles), list(subjects), list(captions)]}
        save_atomically(stored, path)
    stored = torch.load(path, weights_only=True)
    return PictureSet(stored["pixels"], *stored["words"])


def orders_of(
    styles: Sequence[str], subjects: Sequence[str], count: int, first_seed: int = 0
) -> list[Order]:
    """List `count` pictures of each subject in each style, with consecutive seeds."""
    return [(st, su, first_seed + i) for i in range(count) for su in subjects for st in styles]

"""What checking a data set costs beside decoding it: `python benchmarks/data.py [FOLDER]`.

CPU seconds of this process are compared, on one thread, so that a busy machine changes little. The
bar is 1.3 times Pillow's own decode for JPEG pictures of a megapixel.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image, ImageFilter

from lycoris_ext.data.measures import Measures, measure
from lycoris_ext.data.near_copies import near_copies
from lycoris_ext.data.pictures import check_picture, quiet_pillow

T = TypeVar("T")

BAR = 1.3
_SIDE, _PICTURES, _ROUNDS = 1024, 24, 5


def main(arguments: list[str]) -> None:
    """Print the costs for the pictures of a folder, scaled to a megapixel, or for drawn ones."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, quiet_pillow():
        files = _write(Path(name), arguments)
        plain = _fastest(_of_each(files, _decode))
        checked = _fastest(_of_each(files, check_picture))
        pictures = [Image.open(file).convert("RGB") for file in files]
        measured = _fastest(_of_each(pictures, measure))
    each = 1000 / len(files)
    print(f"Pillow's decode      {plain * each:6.2f} ms a picture")
    print(f"check_picture        {checked * each:6.2f} ms, {checked / plain:.2f} x (bar {BAR})")
    print(f"  of that measuring  {measured * each:6.2f} ms")
    for number in (10_000, 100_000):
        taken = _fastest(partial(near_copies, list(_random_measures(number))), 1)
        print(f"near copies among {number:,}: {taken:.1f} s")


def _decode(file: Path) -> None:
    Image.open(io.BytesIO(file.read_bytes())).load()


def _of_each(things: Sequence[T], work: Callable[[T], object]) -> Callable[[], None]:
    """Return what does the work for each thing and keeps nothing, so that memory is used again."""

    def all_of_them() -> None:
        for thing in things:
            work(thing)

    return all_of_them


def _write(folder: Path, arguments: list[str]) -> list[Path]:
    sources = sorted(Path(arguments[0]).rglob("*.jp*g"))[:_PICTURES] if arguments else []
    pictures = map(Image.open, sources) if sources else map(_drawn, range(_PICTURES))
    files = []
    for number, picture in enumerate(pictures):
        files.append(folder / f"{number}.jpg")
        picture.convert("RGB").resize((_SIDE, _SIDE)).save(files[-1], quality=92)
    return files


def _drawn(seed: int) -> Image.Image:
    """Draw smooth noise at several scales, whose JPEG is as large as a photograph's."""
    rng = random.Random(seed)
    whole = Image.new("RGB", (_SIDE, _SIDE), "gray")
    for side in (8, 64, 256):
        noise = Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side))
        whole = Image.blend(whole, noise.resize(whole.size, Image.Resampling.BICUBIC), 0.3)
    return whole.filter(ImageFilter.SHARPEN)


def _random_measures(number: int) -> Iterable[Measures]:
    rng = random.Random(0)
    for _ in range(number):
        yield Measures(0, 255, 0.1, 90, 0, rng.getrandbits(64), "00" * 192)


def _fastest(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Return the fewest CPU seconds of this process that the work took."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


if __name__ == "__main__":
    main(sys.argv[1:])

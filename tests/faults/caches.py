"""Entries of the disk caches of latents and encoded captions that were damaged or mixed up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from lycoris_ext.data import DiskStore
from lycoris_ext.data.store import ENDING, fetch
from lycoris_ext.training.text import TextCache
from tests.faults.trials import Kind, Trial

_Read = Callable[[str], torch.Tensor]


def _encoding(name: str) -> torch.Tensor:
    return torch.full((4, 8, 8), float(len(name)))


def _latents(folder: Path) -> _Read:
    store = DiskStore(folder)
    return lambda name: fetch(store, name.ljust(40, "0"), lambda: {"mean": _encoding(name)})["mean"]


def _captions(folder: Path) -> _Read:
    base = SimpleNamespace(
        encode_text=lambda captions: _encoding(captions[0]),
        to_tensors=lambda text: {"states": text},
        from_tensors=lambda tensors: tensors["states"],
    )
    return TextCache(cast(Any, base), disk=DiskStore(folder), encoder="e").one


def _damaged(
    number: int, seed: int, folder: Path, make: Callable[[Path], _Read]
) -> Iterator[Trial]:
    chance = random.Random(seed)
    read = make(folder)
    names = ("a", "ab")
    for name in names:
        read(name)
    files = sorted(folder.glob(f"*{ENDING}"))
    whole = [path.read_bytes() for path in files]
    for _ in range(number):
        which, how = chance.randrange(2), chance.choice(("bit", "bit", "cut", "other", "none"))
        content = bytearray(whole[which])
        place = chance.randrange(len(content))
        if how == "bit":
            content[place] ^= 1 << chance.randrange(8)
        elif how == "cut":
            del content[place:]
        elif how == "other":
            content = bytearray(whole[1 - which])
        if how == "none":
            files[which].unlink()
        else:
            files[which].write_bytes(content)
        right = all(torch.equal(read(name), _encoding(name)) for name in names)
        mended = [path.read_bytes() for path in files] == whole
        bad = "" if right and mended else "the damaged entry was used, or left as it is"
        yield Trial(f"{how} at byte {place} of entry {which}", bad)
        for path, content in zip(files, whole, strict=True):
            path.write_bytes(content)


def _of_latents(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    return _damaged(number, seed, folder, _latents)


def _of_captions(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    return _damaged(number, seed, folder, _captions)


KINDS = [
    Kind("an entry of the cache of latents, damaged", _of_latents, 40, 400, before=(73, 0)),
    Kind("an entry of the cache of captions, damaged", _of_captions, 40, 400),
]

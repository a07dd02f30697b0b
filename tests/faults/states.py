"""The state of a run with flipped bits and cut ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from lycoris_ext.errors import FormatError
from lycoris_ext.runs.state import Progress, load_state, save_state
from tests.faults.trials import Kind, Trial


def _state(folder: Path) -> Path:
    """Save the state of a small network after two steps of AdamW, and return its file."""
    network = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 32))
    optimizer = torch.optim.AdamW(network.parameters())
    for _ in range(2):
        network(torch.randn(4, 32)).square().mean().backward()
        optimizer.step()
    progress = Progress(2, 2, False, {"network_dim": 4}, "data", "base", "2.13", "cpu", 1)
    paths = [folder / "x.state", folder / "x.state.before"]
    save_state(paths, progress, network, optimizer)
    return paths[0]


def _noticed(path: Path) -> str:
    """Return what is bad about reading a damaged state: nothing, if it is refused."""
    try:
        load_state(path)
    except FormatError:
        return ""
    return "loaded without a word"


def _flipped(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance, path = random.Random(seed), _state(folder)
    whole = path.read_bytes()
    for _ in range(number):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        yield Trial(f"bit {bit} of byte {place} of {len(whole)}", _noticed(path))


def _cut(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance, path = random.Random(seed), _state(folder)
    whole = path.read_bytes()
    for _ in range(number):
        length = chance.randrange(len(whole))
        path.write_bytes(whole[:length])
        yield Trial(f"cut to {length} of {len(whole)} bytes", _noticed(path))


KINDS = [
    Kind("a run's state, one bit flipped anywhere", _flipped, 50, 500, before=(50, 46)),
    Kind("a run's state, cut at a random length", _cut, 20, 200, before=(20, 0)),
]

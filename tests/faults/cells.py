"""Pictures, plans and votes of grids that were damaged or mixed up on the disk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from lycoris_ext.errors import DataError
from lycoris_ext.grids.cells import CellStore, Painted
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.plan import Cell, GridPlan
from lycoris_ext.grids.plan_file import PLAN, read_grid, write_plan
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings
from lycoris_ext.grids.votes import FILE, Vote, cast, read_votes
from tests.faults.trials import Kind, Trial


def _picture(seed: int) -> Image.Image:
    numbers = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (16, 24, 3), generator=numbers, dtype=torch.uint8)
    return Image.frombytes("RGB", (24, 16), pixels.numpy().tobytes())


def _pictures(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance, store = random.Random(seed), CellStore(folder)
    keys = [digit * 64 for digit in "ab"]
    kept = [
        store.keep(key, Painted(_picture(place), f"picture {place}"))
        for place, key in enumerate(keys)
    ]
    whole = [each.path.read_bytes() for each in kept]
    for _ in range(number):
        which, how = chance.randrange(2), chance.choice(("bit", "bit", "cut", "other"))
        content = bytearray(whole[which])
        place = chance.randrange(len(content))
        if how == "bit":
            content[place] ^= 1 << chance.randrange(8)
        elif how == "cut":
            del content[place:]
        else:
            content = bytearray(whole[1 - which])
        kept[which].path.write_bytes(content)
        bad = ""
        for found in (store.find(keys[which]), store.kept(keys[which])):
            if found is not None and (
                found.picture.tobytes() != _picture(which).tobytes()
                or found.parameters != f"picture {which}"
            ):
                bad = "another picture or text is shown"
        yield Trial(f"{how} at byte {place} of {len(whole[which])}", bad)
        kept[which].path.write_bytes(whole[which])


def _plan() -> GridPlan:
    return GridPlan.crossed(
        (Entrant("tilty", "a" * 64, Path("tilty.safetensors")),),
        (PromptTest("a cat"), PromptTest("a dog")),
        seeds=(1, 2),
        settings=Settings(20, 7.0, 64, 64, "Euler a"),
    )


def _texts(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Flip a bit of a grid's plan or of the votes: neither is read as something else."""
    chance, store, plan = random.Random(seed), CellStore(folder / "cells"), _plan()
    cells = list(plan.cells())
    grid = Grid(plan, {cells[0]: store.keep("c" * 64, Painted(_picture(0), "x", "a fault"))})
    write_plan(folder, grid, {"prompts": ["a cat"]})
    cast(folder, Vote.of(plan.id, Cell(plan.rows[0], plan.columns[-1])))
    votes = read_votes(folder)
    whole = {name: (folder / name).read_bytes() for name in (PLAN, FILE)}
    for _ in range(number):
        name = chance.choice((PLAN, FILE))
        content = bytearray(whole[name])
        place, bit = chance.randrange(len(content)), chance.randrange(8)
        content[place] ^= 1 << bit
        (folder / name).write_bytes(content)
        try:
            found = read_grid(folder / PLAN, store)
            same = found.plan == plan and found.cells == grid.cells and read_votes(folder) == votes
            bad = "" if same else "something else was read"
        except DataError:
            bad = ""
        yield Trial(f"bit {bit} of byte {place} of {name}", bad)
        (folder / name).write_bytes(whole[name])


KINDS = [
    Kind("a grid's picture, damaged or another's", _pictures, 60, 600),
    Kind("a grid's plan or votes, one bit flipped", _texts, 60, 600),
]

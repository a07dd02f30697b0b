"""Commands for data sets whose files fail, whose disk is full, that are killed, or may not read."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.broken_disk import BrokenDisk
from tests.faults.dataset_world import Command, World, Worlds
from tests.faults.failing_calls import ERRORS, KILLED, Failing
from tests.faults.forked import NEEDS, Ended
from tests.faults.training_world import failing
from tests.faults.trials import Kind, Trial
from tests.faults.unreadable import as_any_user

_MODES = (0o000, 0o444, 0o555)
_ROOTS = "" if sys.platform == "linux" else "it takes rights from root: Linux alone"

Try = Callable[[World, Command, random.Random], tuple[str, Ended]]


def _tried(number: int, seed: int, folder: Path, attempt: Try) -> Iterator[Trial]:
    """Let commands meet a fault; they may end with words, lose nothing, and are taken back."""
    chance = random.Random(seed)
    layouts = [Worlds(folder / name, nested=name == "nested") for name in ("named", "nested")]
    for _ in range(number):
        worlds = chance.choice(layouts)
        name = chance.choice(list(worlds.world.commands()))
        command = worlds.world.commands()[name]
        world = worlds.fresh(command)
        what, ended = attempt(world, command, chance)
        bad = "" if ended.code == -signal.SIGKILL else ended.bad
        layout = "nested" if world.nested else "named"
        yield Trial(
            f"{name} of {layout} folders: {what}",
            bad or world.lost() or world.taken_back(command),
        )


def _failing(world: World, command: Command, chance: random.Random) -> tuple[str, Ended]:
    return _at_a_call(world, command, chance, chance.choice(ERRORS))


def _killed(world: World, command: Command, chance: random.Random) -> tuple[str, Ended]:
    return _at_a_call(world, command, chance, KILLED)


def _at_a_call(
    world: World, command: Command, chance: random.Random, error: str
) -> tuple[str, Ended]:
    """Let one of the calls of the file system fail, or kill the process there."""
    tally = world.folder.with_name("tally")
    tally.unlink(missing_ok=True)
    put_back = _copied(world)
    world.run(command.words, Failing(world.folder, 0, error, tally))
    calls = tally.stat().st_size
    put_back()
    call = chance.randint(1, calls)
    lasting = error != KILLED and chance.random() < 0.3
    ended = world.run(command.words, Failing(world.folder, call, error, tally, lasting))
    return f"{error} {'from' if lasting else 'at'} call {call} of {calls}", ended


def _copied(world: World) -> Callable[[], None]:
    """Copy the world aside, and return what puts it back."""
    aside = world.folder.with_name("aside")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(world.folder, aside)

    def put_back() -> None:
        shutil.rmtree(world.folder)
        shutil.copytree(aside, world.folder)

    return put_back


def _full(world: World, command: Command, chance: random.Random) -> tuple[str, Ended]:
    works = chance.randrange(3000)
    disk = BrokenDisk(world.folder, works, failing(errno.ENOSPC))
    return f"the disk is full after {works} bytes", world.run(command.words, disk)


def _forbidden(world: World, command: Command, chance: random.Random) -> tuple[str, Ended]:
    """Take rights from a file or folder: what cannot be read or written is named."""
    places = [world.folder, *sorted(world.folder.rglob("*"))]
    place = chance.choice(places)
    mode = chance.choice(_MODES)
    place.chmod(mode)
    ended = world.run(command.words, as_any_user, partial(os.chdir, world.folder.parent))
    _open(world.folder)
    if not ended.bad and ended.code and place.name not in ended.said:
        ended = Ended(None, f"the message does not name {place.name}: {ended.said[-400:]}")
    return f"{place.relative_to(world.folder.parent)} has mode {mode:03o}", ended


def _open(folder: Path) -> None:
    """Give all rights back, whatever the folders are called by now."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        if path.is_dir():
            _open(path)
        else:
            path.chmod(0o644)


def _kind(name: str, attempt: Try, full: int, needs: str = "") -> Kind:
    return Kind(name, partial(_tried, attempt=attempt), 3, full, needs=needs or NEEDS)


KINDS = [
    _kind("a data set command in which calls of the file system fail", _failing, 200),
    _kind("a data set command that is killed (SIGKILL)", _killed, 200),
    _kind("a data set command whose disk gets full", _full, 60),
    _kind("a data set command on files and folders that may not be read", _forbidden, 100, _ROOTS),
]

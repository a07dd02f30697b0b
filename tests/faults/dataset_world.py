"""A data set, a cache, and the commands that look at them or write beside the pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from lycoris_ext.data import DataConfig, DiskStore, open_training_set
from lycoris_ext.data.caption_sets import SETS
from lycoris_ext.data.folder_tree import levels_in
from lycoris_ext.data.manifest_file import write_manifest
from lycoris_ext.runs.paths import RunPaths
from tests.faults.forked import Ended, Fault, forked
from tests.originals import digests
from tests.tagging.onnx_files import write_tagger
from tests.tiny_pictures import TAGS, write_picture

_FOLDERS = ("1_photo~cat", "7_photo~dog", "2_drawn~cat")
_SET = "edited"
TAGS_PICTURES = find_spec("onnxruntime") is not None
"""Whether the extra [data] is installed, which tagging needs."""
_TRIES = 5
"""How often a writing is taken back: what fails or is killed may have kept several steps."""


@dataclass(frozen=True)
class Command:
    """A command on the data set of a `World`.

    Args:
        words: what is typed after ``lycoris-ext``.
        undo: takes back what it writes; () if it writes nothing beside the pictures.
        first: commands that run before it without a fault.
    """

    words: Sequence[str]
    undo: Sequence[str] = ()
    first: Sequence[Sequence[str]] = ()


class World:
    """Pictures with captions in ``<repeats>_<levels>``, or in nested folders, and a cache.

    Args:
        folder: an empty folder.
        nested: folders are nested, with a multiply.txt in two of them.
    """

    def __init__(self, folder: Path, *, nested: bool) -> None:
        self.folder, self.nested = folder, nested
        self.pictures, self.cache = folder / "pictures", folder / "cache"
        self.page, self.log = folder / "page", folder.with_name(f"{folder.name}.log")
        for name in _FOLDERS:
            repeats, levels = levels_in(name)
            place = self.pictures.joinpath(*levels) if nested else self.pictures / name
            place.mkdir(parents=True)
            for number in range(2 + (repeats == 1)):
                write_picture(place / f"{number}.png", number)
                text = f"{levels[-1]}, {TAGS[number]}, été, 森"
                (place / f"{number}.txt").write_text(text, encoding="utf-8")
            if nested and repeats > 1:
                (place / "multiply.txt").write_text(f"{repeats}\n", encoding="ascii")
        if TAGS_PICTURES:
            write_tagger(folder / "tagger")
        paths = RunPaths(folder / "run", "x")
        paths.folder.mkdir()
        data = DataConfig(train_data_dir=str(self.pictures))
        write_manifest(paths.dataset, open_training_set(data, seed=0).manifest)
        store = DiskStore(self.cache / "latents")
        for number in range(4):
            store.save(f"{number}" * 40, {"mean": torch.full((4, 4, 4), float(number))})
        self.before = self.state()
        self.originals = self._originals()

    def commands(self) -> dict[str, Command]:
        """Return the commands by their names."""
        place, cache = str(self.pictures), str(self.cache)
        balance = ["dataset", "balance", place]
        tags = ["dataset", "tags", place]
        write = [*tags, "--add", "new tag", "--remove", "été", "--write"]
        tagging: dict[str, Command] = {}
        if TAGS_PICTURES:
            given = ["--tagger", str(self.folder / "tagger"), "--cache_dir", cache]
            caption = ["dataset", "caption", place]
            tagging["caption"] = Command([*caption, *given], [*caption, "--undo"])
        return tagging | {
            "check": Command(["check", place]),
            "report": Command(["dataset", "report", place, "--json"]),
            "report as a page": Command(
                ["dataset", "report", place, "--check", "--html", str(self.page)]
            ),
            "balance": Command([*balance, "--write"], [*balance, "--undo"]),
            "balance taken back": Command(
                [*balance, "--undo"], [*balance, "--undo"], [[*balance, "--write"]]
            ),
            "balance as a config": Command([*balance, "--config", str(self.folder / "b.toml")]),
            "tags": Command(write, [*tags, "--undo"]),
            "tags again": Command(
                [*tags, "--remove", "new tag", "--write"], [*tags, "--undo"], [write]
            ),
            "tags taken back": Command([*tags, "--undo"], [*tags, "--undo"], [write]),
            "diff": Command(["dataset", "diff", str(self.folder / "run"), place]),
            "tags compared": Command([*tags, "--diff", _SET], [*tags, "--undo"], [write]),
            "cache ls": Command(["cache", "ls", cache]),
            "cache verify": Command(["cache", "verify", cache, "--delete"]),
            "cache prune": Command(["cache", "prune", cache, "--max-gb", "0"]),
        }

    def run(self, words: Sequence[str], *faults: Fault) -> Ended:
        """Run a command after some faults."""
        return forked(words, self.log, *faults)

    def lost(self) -> str:
        """Return what is bad if a picture or caption is not as it was, wherever it lies now."""
        now = self._originals()
        gone = self.originals.items() - now.items()
        return f"originals are changed or gone: {sorted(gone)}" if gone else ""

    def taken_back(self, command: Command) -> str:
        """Take back what a command wrote, as often as it can be; return what is bad then."""
        for _ in range(_TRIES if command.undo else 0):
            ended = self.run(command.undo)
            if ended.bad:
                return f"then: {ended.bad}"
            if ended.code == 3:
                break
        other = sorted(set(self.state().items()) ^ set(self.before.items()))
        if other:
            return f"taken back, and not as before: {other}: {ended.said[-300:]}"
        return self.lost()

    def state(self) -> dict[str, str]:
        """Return path -> hash of all that lies with the pictures, but for what was not finished.

        A multiply.txt that was written and taken back has its bytes again, with another time.
        """
        return digests(self.pictures, lambda path: path.suffix != ".tmp", times=False)

    def _originals(self) -> dict[str, str]:
        """Return folder without its repeats and file -> hash, of pictures and captions."""
        found = digests(self.pictures, self._is_original)
        return {
            "/".join((*levels_in(str(Path(name).parent))[1], Path(name).name)): digest
            for name, digest in found.items()
        }

    def _is_original(self, path: Path) -> bool:
        kept = path.suffix in (".png", ".txt") and path.name != "multiply.txt"
        return kept and SETS not in path.parts


class Worlds:
    """Copies of one `World` for many trials.

    Args:
        folder: an empty folder.
        nested: as in `World`.
    """

    def __init__(self, folder: Path, *, nested: bool) -> None:
        self.world = World(folder / "world", nested=nested)
        self._copy = shutil.copytree(self.world.folder, folder / "copy")

    def fresh(self, command: Command) -> World:
        """Return the world as it was, after the commands that go before this one."""
        shutil.rmtree(self.world.folder)
        shutil.copytree(self._copy, self.world.folder)
        for words in command.first:
            ended = self.world.run(words)
            assert ended.code == 0, ended.said
        return self.world

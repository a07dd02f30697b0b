"""The names of a run's files.

No other module spells these names. To find the files of a run use ``RunPaths``; to learn about a
file that was found use ``RunPaths.of_events``, ``step_in_name`` or ``epoch_in_name``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Protocol

from lycoris_ext.files import expanded
from lycoris_ext.printable import printable

FORBIDDEN_IN_NAMES = '<>:"/\\|?*'
"""Characters that Windows does not allow in file names."""

_LONGEST = 180
"""Bytes of the longest name: systems allow 255, and endings such as -step-100000-ema.safetensors,
and those of unfinished files, are added to it."""

_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"
}


def is_file_name(text: str) -> bool:
    """Return True if a text can be the name of a file or folder on every system.

    It must have no characters that Windows forbids, no spaces or dots at its ends, which Windows
    drops, must be none of Windows' devices, such as CON or com1.txt, and must leave room for the
    endings of a run's files.
    """
    return bool(text) and as_file_name(text) == text


def as_file_name(text: str) -> str:
    """Make of a text a name that files and folders may have on every system; "" if none is left."""
    kept = "".join(
        "_" if c in FORBIDDEN_IN_NAMES or printable(c) != c or c in "\t\n" else c for c in text
    )
    kept = kept.strip(" .")
    if len(kept.encode("utf-8", "surrogatepass")) > _LONGEST:
        kept = kept.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore").strip(" .")
    start, dot, end = kept.partition(".")
    return f"{start}_{dot}{end}" if start.strip().upper() in _DEVICES else kept


_EVENTS = ".events.jsonl"
_DATASET = ".dataset.json.gz"
_STEP = re.compile(r"-step(?:-(\d+)(?:-ema)?|0*(\d+))$")
_EPOCH = re.compile(r"-(\d{6})$")


def step_in_name(adapter: Path) -> int | None:
    """Return the optimizer step after which an adapter was saved, from its file's name, or None.

    We write NAME-step-12 and NAME-step-12-ema, sd-scripts writes NAME-step00000012.
    """
    found = _STEP.search(adapter.stem)
    return int(found[1] or found[2]) if found else None


def epoch_in_name(adapter: Path) -> int | None:
    """Return the epoch in a file name of sd-scripts, such as 3 in NAME-000003, or None."""
    found = _EPOCH.search(adapter.stem)
    return int(found[1]) if found else None


class Output(Protocol):
    """The options that decide where a run writes; ``RunConfig`` has them."""

    @property
    def output_dir(self) -> str: ...

    @property
    def output_name(self) -> str: ...


@dataclass(frozen=True)
class RunPaths:
    """The paths of all files of a run; its folder has them all, and their names begin with its own.

    Args:
        folder: option output_dir.
        name: option output_name.
    """

    folder: Path
    name: str

    @staticmethod
    def of(config: Output) -> RunPaths:
        """Return the paths of the run that these options describe."""
        return RunPaths(expanded(config.output_dir), config.output_name)

    @staticmethod
    def of_events(path: Path) -> RunPaths | None:
        """Return the paths of the run with this event log; None if the name is not a log's."""
        name = path.name.removesuffix(_EVENTS)
        return None if name == path.name else RunPaths(path.parent, name)

    @staticmethod
    def of_dataset(path: Path) -> RunPaths | None:
        """Return the paths of the run with this list of pictures; None if it is no such list."""
        name = path.name.removesuffix(_DATASET)
        return None if name == path.name else RunPaths(path.parent, name)

    @property
    def adapter(self) -> Path:
        """Path of the finished adapter."""
        return self.folder / f"{self.name}.safetensors"

    def adapters(self) -> list[Path]:
        """Return the adapters that exist: the finished one, those of steps, and averaged ones."""
        own = re.compile(re.escape(self.name) + r"(-step-\d+)?(-ema)?\.safetensors")
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(path for path in there if own.fullmatch(path.name))

    @property
    def lock(self) -> Path:
        """Path of the lock file that the writing process holds, see ``RunLock``."""
        return self.folder / f".{self.name}.lock"

    @property
    def config(self) -> Path:
        """Path of the run's options with all defaults, as TOML."""
        return self.folder / f"{self.name}.toml"

    @property
    def dataset(self) -> Path:
        """Path of the list of pictures, captions and repeats that the run trains."""
        return self.folder / f"{self.name}{_DATASET}"

    @property
    def events(self) -> Path:
        """Path of the event log, see ``EventLog``."""
        return self.folder / f"{self.name}{_EVENTS}"

    @property
    def state(self) -> Path:
        """Path of the state from which the run resumes, see ``save_state``; it is no adapter."""
        return self.folder / f"{self.name}.state"

    @property
    def states(self) -> tuple[Path, Path]:
        """Paths of the state and of the one before it, which serves if the newer is damaged."""
        return self.state, self.folder / f"{self.name}.state-before"

    @property
    def samples(self) -> Path:
        """Path of the folder for the pictures that are drawn during training."""
        return self.folder / "sample"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns, as glob reads them, of the names of the files that the run writes."""
        results = (self.adapter, self.averaged(self.adapter))
        fixed = (*results, self.config, self.dataset, self.events, *self.states)
        return (*(escape(path.name) for path in fixed), f"{escape(self.name)}-step-*.safetensors")

    def checkpoints(self) -> list[Path]:
        """Return the adapters that were saved during the run, in the order of their steps."""
        found = self.folder.glob(f"{escape(self.name)}-step-*.safetensors")
        steps = {path: step_in_name(path) for path in found}
        ours = [path for path, step in steps.items() if self._names(path, step)]
        return sorted(ours, key=lambda path: (steps[path] or 0, path.name))

    def _names(self, path: Path, step: int | None) -> bool:
        return step is not None and path in (
            self.checkpoint(step),
            self.averaged(self.checkpoint(step)),
        )

    def drawn(self) -> list[Path]:
        """Return the pictures that were drawn during the run, in the order of steps and prompts."""
        pattern = re.compile(rf"{re.escape(self.name)}-step-(\d+)-(\d+)\.png")
        found = {path: pattern.fullmatch(path.name) for path in self.samples.glob("*.png")}
        numbers = {path: (int(m[1]), int(m[2])) for path, m in found.items() if m}
        return sorted(numbers, key=lambda path: numbers[path])

    def results(self) -> list[Path]:
        """Return where something can be that is of use: adapters, and the state to go on from."""
        return [self.adapter, self.averaged(self.adapter), *self.states, *self.checkpoints()]

    def averaged(self, adapter: Path) -> Path:
        """Return the path for the averaged weights (EMA) that belong to an adapter file."""
        return adapter.with_name(f"{adapter.stem}-ema{adapter.suffix}")

    @staticmethod
    def scores(adapter: Path) -> Path:
        """Return the path for an adapter's scores, a JSON file {"scores": {name: number}}."""
        return adapter.with_suffix(".scores.json")

    def checkpoint(self, step: int) -> Path:
        """Return the path for the adapter that is saved after an optimizer step."""
        return self.folder / f"{self.name}-step-{step}.safetensors"

    def sample(self, step: int, number: int) -> Path:
        """Return the path for a picture that is drawn after an optimizer step.

        Args:
            step: the optimizer step.
            number: of the picture among those of this step.
        """
        return self.samples / f"{self.name}-step-{step}-{number:02d}.png"

"""The names of a run's files, and where they lie.

Nobody else spells these names: who has a run's folder and name asks ``RunPaths``, who has found a
file asks ``RunPaths.of_events``, ``step_in_name`` or ``epoch_in_name``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FORBIDDEN_IN_NAMES = '<>:"/\\|?*'
"""What Windows does not allow in file names."""


def is_file_name(text: str) -> bool:
    """Whether it names one file or folder, with nothing that Windows forbids or drops."""
    forbidden = set(FORBIDDEN_IN_NAMES) & set(text)
    return bool(text.strip()) and not forbidden and text == text.strip(" .")


_EVENTS = ".events.jsonl"
_STEP = re.compile(r"-step(?:-(\d+)(?:-ema)?|0*(\d+))$")
_EPOCH = re.compile(r"-(\d{6})$")


def step_in_name(adapter: Path) -> int | None:
    """The step after which an adapter was saved, by its name; None where it tells none.

    NAME-step-12 and NAME-step-12-ema are ours, NAME-step00000012 is sd-scripts'.
    """
    found = _STEP.search(adapter.stem)
    return int(found[1] or found[2]) if found else None


def epoch_in_name(adapter: Path) -> int | None:
    """The epoch in sd-scripts' names, as NAME-000003; None where there is none."""
    found = _EPOCH.search(adapter.stem)
    return int(found[1]) if found else None


class Output(Protocol):
    """The options that say where a run writes, as ``RunConfig`` has them."""

    @property
    def output_dir(self) -> str: ...

    @property
    def output_name(self) -> str: ...


@dataclass(frozen=True)
class RunPaths:
    """Every file of a run, all in one folder and all beginning with the run's name."""

    folder: Path
    name: str

    @staticmethod
    def of(config: Output) -> RunPaths:
        """The files of the run that these options describe."""
        return RunPaths(Path(config.output_dir).expanduser(), config.output_name)

    @staticmethod
    def of_events(path: Path) -> RunPaths | None:
        """The files of the run that wrote these events; None where no run names a file so."""
        name = path.name.removesuffix(_EVENTS)
        return None if name == path.name else RunPaths(path.parent, name)

    @property
    def adapter(self) -> Path:
        """The finished adapter."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def lock(self) -> Path:
        """What the process that writes this run holds."""
        return self.folder / f".{self.name}.lock"

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.folder / f"{self.name}.toml"

    @property
    def events(self) -> Path:
        """One JSON line per step."""
        return self.folder / f"{self.name}{_EVENTS}"

    @property
    def state(self) -> Path:
        """What resuming needs; not an adapter."""
        return self.folder / f"{self.name}.state"

    @property
    def samples(self) -> Path:
        """Folder of the pictures drawn during training."""
        return self.folder / "sample"

    @property
    def all_names(self) -> tuple[str, ...]:
        """Names of all files of the run in its folder; a * stands for a step."""
        results = (self.adapter, self.averaged(self.adapter))
        fixed = (*results, self.config, self.events, self.state)
        return (*(path.name for path in fixed), f"{self.name}-step-*.safetensors")

    def averaged(self, adapter: Path) -> Path:
        """The file of the averaged weights beside an adapter."""
        return adapter.with_name(f"{adapter.stem}-ema{adapter.suffix}")

    @staticmethod
    def scores(adapter: Path) -> Path:
        """The scores of an adapter, beside it: {"scores": {name: number}}."""
        return adapter.with_suffix(".scores.json")

    def checkpoint(self, step: int) -> Path:
        """The adapter as it was after a step."""
        return self.folder / f"{self.name}-step-{step}.safetensors"

    def sample(self, step: int, number: int) -> Path:
        """A picture drawn after a step."""
        return self.samples / f"{self.name}-step-{step}-{number:02d}.png"

"""The names of a run's files, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FORBIDDEN_IN_NAMES = '<>:"/\\|?*'
"""What Windows does not allow in file names."""


def is_file_name(text: str) -> bool:
    """Whether it names one file or folder, with nothing that Windows forbids or drops."""
    forbidden = set(FORBIDDEN_IN_NAMES) & set(text)
    return bool(text.strip()) and not forbidden and text == text.strip(" .")


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
        return self.folder / f"{self.name}.events.jsonl"

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

    def checkpoint(self, step: int) -> Path:
        """The adapter as it was after a step."""
        return self.folder / f"{self.name}-step-{step}.safetensors"

    def sample(self, step: int, number: int) -> Path:
        """A picture drawn after a step."""
        return self.samples / f"{self.name}-step-{step}-{number:02d}.png"

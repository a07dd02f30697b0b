"""What an export makes: the texts of files, and what they do not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class Target:
    """Where an export is written.

    Attributes:
        main: path of the file that the other program is given.
    """

    main: Path

    @property
    def datasets(self) -> Path:
        """Path of the dataset_config, if there is one."""
        return self.main.with_name(f"{self.main.stem}.datasets.toml")

    @property
    def prompts(self) -> Path:
        """Path of the file with the prompts of sample pictures, if there is one."""
        return self.main.with_name(f"{self.main.stem}.prompts.txt")


@dataclass(frozen=True)
class Exported:
    """A config in the words of another program.

    Attributes:
        files: path -> text of each file to write.
        unsupported: an error for each option that decides the result and that the other program
            does not have.
    """

    files: Mapping[Path, str]
    unsupported: tuple[ConfigError, ...]

"""The adapters that a grid compares, and their strengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.network.merge import MOST_STRENGTH


@dataclass(frozen=True)
class Entrant:
    """An adapter that a grid compares with others.

    Args:
        name: the heading of its columns.
        hash: SHA-256 of the file's content, or of the tensors if there is no file. Cached pictures
            belong to this hash, whatever the file is called.
        path: the adapter file; None if the adapter is only in memory.
    """

    name: str
    hash: str
    path: Path | None = field(default=None, compare=False)

    @property
    def file(self) -> Path:
        """The path of the adapter file.

        Raises:
            DataError: the adapter is only in memory.
        """
        if self.path is None:
            raise DataError(
                "this adapter is only in memory", where=self.name, fix="save it to a file first"
            )
        return self.path


@dataclass(frozen=True)
class Strength:
    """The multipliers of an adapter's update in the text encoder and in the U-Net.

    Raises:
        ConfigError: one is not finite, or beyond 100.
    """

    text_encoder: float = 1.0
    unet: float = 1.0

    def __post_init__(self) -> None:
        for value in (self.text_encoder, self.unet):
            if not math.isfinite(value) or abs(value) > MOST_STRENGTH:
                raise ConfigError(
                    f"a strength is {value}", where="strengths", fix="use a number like 0.8"
                )

    @classmethod
    def parse(cls, text: str) -> Strength:
        """Read "0.8" (for both), or "0.5:1" (text encoder:U-Net).

        Raises:
            ConfigError: the text is neither, or a number is out of range.
        """
        first, colon, second = text.strip().partition(":")
        try:
            return cls(float(first), float(second if colon else first))
        except ValueError as error:
            raise ConfigError(
                f"{text.strip()!r} is no strength",
                where="strengths",
                fix='write numbers such as 0.6, 0.8, 1, or 0.5:1 for "text encoder:U-Net"',
            ) from error

    def __str__(self) -> str:
        if self.text_encoder == self.unet:
            return f"{self.unet:g}"
        return f"{self.text_encoder:g}:{self.unet:g}"


FULL = Strength()


@dataclass(frozen=True)
class Use:
    """An adapter at a strength, with which all pictures of a row are drawn."""

    entrant: Entrant
    strength: Strength = FULL

    def __str__(self) -> str:
        return f"{self.entrant.name} at {self.strength}"


def with_unique_names(entrants: Iterable[Entrant]) -> tuple[Entrant, ...]:
    """Return each adapter once; if two share a name, add six digits of the hash to both names."""
    known = list(dict.fromkeys(entrants))
    names = Counter(entrant.name for entrant in known)
    return tuple(
        e if names[e.name] == 1 else Entrant(f"{e.name} ({e.hash[:6]})", e.hash, e.path)
        for e in known
    )

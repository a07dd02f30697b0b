"""The adapters of a grid, and how strongly each acts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError


@dataclass(frozen=True)
class Entrant:
    """An adapter that takes part.

    Args:
        name: its heading.
        hash: SHA-256 of the file, or of the tensors where there is no file: what is drawn belongs
            to this content, not to a name.
        path: of the file; None where the adapter is in memory alone.
    """

    name: str
    hash: str
    path: Path | None = field(default=None, compare=False)

    @property
    def file(self) -> Path:
        """The adapter's file.

        Raises:
            DataError: it has none.
        """
        if self.path is None:
            raise DataError(
                "this adapter is in memory alone", where=self.name, fix="save it to a file first"
            )
        return self.path


@dataclass(frozen=True)
class Strength:
    """How strongly an adapter acts on the text encoder and on the U-Net."""

    text_encoder: float = 1.0
    unet: float = 1.0

    def __post_init__(self) -> None:
        for value in (self.text_encoder, self.unet):
            if not math.isfinite(value) or abs(value) > 100:
                raise ConfigError(
                    f"a strength is {value}", where="strengths", fix="use a number like 0.8"
                )

    @classmethod
    def parse(cls, text: str) -> Strength:
        """Read "0.8" (both), or "0.5:1" (text encoder:U-Net).

        Raises:
            ConfigError: it is no number, or out of range.
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


def told_apart(entrants: Iterable[Entrant]) -> tuple[Entrant, ...]:
    """Each adapter once; where two have one name, a part of the hash is added to it."""
    known = list(dict.fromkeys(entrants))
    names = Counter(entrant.name for entrant in known)
    return tuple(
        e if names[e.name] == 1 else Entrant(f"{e.name} ({e.hash[:6]})", e.hash, e.path)
        for e in known
    )

"""What a grid is to show: checkpoints and strengths across, prompts, seeds and base models down."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.prompt_tests import PromptTest

BARE = "without adapter"
MAX_CELLS = 4096
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Entrant:
    """An adapter that takes part.

    Args:
        name: its heading.
        hash: SHA-256 of the file: what is drawn belongs to these bytes, not to a name.
        path: of the file.
    """

    name: str
    hash: str
    path: Path = field(compare=False)


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


@dataclass(frozen=True)
class Settings:
    """How every picture of a grid is drawn; the sampler under the painter's name for it."""

    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    sampler: str = "Euler"
    clip_skip: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, 1000),
            ("cfg_scale", 0, 100),
            ("width", 8, 8192),
            ("height", 8, 8192),
            ("clip_skip", 1, 12),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"{name} is {value}", where=name, fix=f"use a number from {low} to {high}"
                )


@dataclass(frozen=True)
class Column:
    """An adapter at a strength, or none."""

    entrant: Entrant | None = None
    strength: Strength = Strength()

    @property
    def adapter(self) -> str:
        return BARE if self.entrant is None else self.entrant.name


@dataclass(frozen=True)
class Row:
    """Everything but the adapter; `base_model` under the painter's name, "" is the loaded one."""

    test: PromptTest
    seed: int
    base_model: str = ""


@dataclass(frozen=True)
class Cell:
    """One picture."""

    row: Row
    column: Column
    settings: Settings

    def key(self, painter: dict[str, str]) -> str:
        """What a picture of this cell is filed under: a hash of all that decides it.

        Args:
            painter: what decides besides, such as the host's version and the base model's hash.
        """
        entrant = self.column.entrant
        content: dict[str, Any] = {
            "prompt": self.row.test.prompt,
            "negative_prompt": self.row.test.negative_prompt,
            "seed": self.row.seed,
            "settings": asdict(self.settings),
            "adapter": entrant and entrant.hash,
            "strength": None if entrant is None else str(self.column.strength),
            "painter": painter,
        }
        return _digest(content)


@dataclass(frozen=True)
class GridPlan:
    """A grid; the column without adapter is always there.

    Args:
        entrants: the adapters.
        tests: prompts, each with its own negative prompt.
        strengths: of every adapter.
        seeds: of the noise.
        base_models: under the painter's names.
        negative_prompts: added to those of the tests, each in a row of its own.
        settings: of every picture.

    Raises:
        ConfigError: nothing is to be drawn, something stands twice, or it is too much.
    """

    entrants: tuple[Entrant, ...]
    tests: tuple[PromptTest, ...]
    strengths: tuple[Strength, ...] = (Strength(),)
    seeds: tuple[int, ...] = (1,)
    base_models: tuple[str, ...] = ("",)
    negative_prompts: tuple[str, ...] = ("",)
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        for name in ("tests", "strengths", "seeds", "base_models", "negative_prompts"):
            values = getattr(self, name)
            if not values:
                raise ConfigError("nothing is chosen", where=name, fix="choose at least one")
            if len(set(values)) < len(values):
                raise ConfigError("something stands twice", where=name, fix="name each once")
        if len({entrant.hash for entrant in self.entrants}) < len(self.entrants):
            raise ConfigError(
                "two of the files are the same, byte for byte",
                where="checkpoints",
                fix="choose one of them",
            )
        for seed in self.seeds:
            if not 0 <= seed <= MAX_SEED:
                raise ConfigError(
                    f"the seed is {seed}", where="seeds", fix=f"use numbers from 0 to {MAX_SEED}"
                )
        size = len(self.rows) * len(self.columns)
        if size > MAX_CELLS:
            raise ConfigError(
                f"{len(self.rows)} rows and {len(self.columns)} columns are {size} pictures",
                where="grid",
                fix=f"ask for at most {MAX_CELLS}",
            )

    @property
    def columns(self) -> list[Column]:
        """Without adapter first, then every adapter at every strength."""
        pairs = [(e, strength) for e in self.entrants for strength in self.strengths]
        return [Column(), *(Column(entrant, strength) for entrant, strength in pairs)]

    @property
    def rows(self) -> list[Row]:
        """Base models outermost: changing them is dear; what comes out the same stands once."""
        rows = [
            Row(_with_negative(test, more), seed, model)
            for model in self.base_models
            for test in self.tests
            for more in self.negative_prompts
            for seed in self.seeds
        ]
        return list(dict.fromkeys(rows))

    def cells(self) -> Iterator[Cell]:
        """In the order in which they are drawn: base model by base model, adapter by adapter."""
        for model in self.base_models:
            for column in self.columns:
                for row in self.rows:
                    if row.base_model == model:
                        yield Cell(row, column, self.settings)

    @property
    def id(self) -> str:
        """Short name of this grid: the same for the same plan over the same files."""
        content = asdict(self)
        for entrant in content["entrants"]:
            del entrant["path"]
        return _digest(content)[:16]

    def column_labels(self) -> list[str]:
        """Headings: what differs."""
        several = len(self.strengths) > 1 or self.strengths != (Strength(),)
        return [
            column.adapter
            if column.entrant is None or not several
            else f"{column.adapter} at {column.strength}"
            for column in self.columns
        ]

    def row_labels(self) -> list[str]:
        """The prompt's name, and whatever else there is more than one of."""
        labels = []
        for row in self.rows:
            parts = [row.test.title]
            if len(self.negative_prompts) > 1:
                parts.append(f"not: {row.test.negative_prompt or 'nothing'}")
            if len(self.seeds) > 1:
                parts.append(f"seed {row.seed}")
            if len(self.base_models) > 1:
                parts.append(row.base_model)
            labels.append(", ".join(parts))
        return labels


def _with_negative(test: PromptTest, more: str) -> PromptTest:
    if not more:
        return test
    joined = ", ".join(text for text in (test.negative_prompt, more) if text)
    return PromptTest(test.prompt, test.label, joined)


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

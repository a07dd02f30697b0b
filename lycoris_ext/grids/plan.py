"""What a grid is to show: adapters across, everything else (prompts, seeds, settings) down."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from lycoris_ext.errors import ConfigError, together
from lycoris_ext.grids.entrants import FULL, Entrant, Strength
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import USUAL, Settings
from lycoris_ext.words import count

BARE = "without adapter"
MAX_CELLS = 4096
#: Of the seeds of any program; each has its own limit, which may be lower.
MAX_SEED = 2**64 - 1
_LONGEST_RANGE = 1000


@dataclass(frozen=True)
class Column:
    """An adapter at a strength, or none."""

    entrant: Entrant | None = None
    strength: Strength = FULL

    @property
    def adapter(self) -> str:
        return BARE if self.entrant is None else self.entrant.name


@dataclass(frozen=True)
class Row:
    """Everything but the adapter; `base_model` under the painter's name, "" is the loaded one."""

    test: PromptTest
    seed: int
    base_model: str = ""
    settings: Settings = USUAL

    def parts(self) -> dict[str, str]:
        """What decides its pictures besides the prompt, in words; "" is not worth a word."""
        known, negative = self.settings, self.test.negative_prompt
        return {
            "base_model": self.base_model,
            "sampler": known.sampler,
            **{name: f"{name} {value}" for name, value in known.extra},
            "steps": count(known.steps, "step"),
            "cfg_scale": f"CFG {known.cfg_scale:g}",
            "size": f"{known.width}x{known.height}",
            "clip_skip": f"clip skip {known.clip_skip}" if known.clip_skip != 1 else "",
            "seed": f"seed {self.seed}",
            "negative": f"negative: {negative}" if negative else "",
        }


@dataclass(frozen=True)
class Cell:
    """One picture."""

    row: Row
    column: Column

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
            "settings": self.row.settings.as_dict(),
            "adapter": entrant and entrant.hash,
            "strength": None if entrant is None else str(self.column.strength),
            "painter": painter,
        }
        return _digest(content)


@dataclass(frozen=True)
class GridPlan:
    """A grid: every row is drawn with every column.

    Args:
        rows: what is asked for, from top to bottom.
        columns: the adapters that it is drawn with, from left to right.

    Raises:
        ConfigError: nothing is to be drawn, something stands twice, or it is too much.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        _refuse_empty_and_double({"rows": self.rows, "columns": self.columns})
        for row in self.rows:
            if not 0 <= row.seed <= MAX_SEED:
                raise ConfigError(
                    f"the seed is {row.seed}",
                    where="seeds",
                    fix=f"use numbers from 0 to {MAX_SEED}",
                )
        if self.size > MAX_CELLS:
            raise ConfigError(
                f"{len(self.rows)} rows and {len(self.columns)} columns are {self.size} pictures",
                where="grid",
                fix=f"ask for at most {MAX_CELLS}",
            )

    @classmethod
    def crossed(
        cls,
        entrants: Iterable[Entrant],
        tests: tuple[PromptTest, ...],
        *,
        strengths: tuple[Strength, ...] = (FULL,),
        seeds: tuple[int, ...] = (1,),
        base_models: tuple[str, ...] = ("",),
        negative_prompts: tuple[str, ...] = ("",),
        settings: Settings = USUAL,
        bare: bool = True,
    ) -> GridPlan:
        """Every adapter at every strength, and everything else with everything else.

        Args:
            entrants: the adapters.
            tests: prompts, each with its own negative prompt.
            strengths: of every adapter.
            seeds: of the noise.
            base_models: under the painter's names; outermost, because changing them is dear.
            negative_prompts: added to those of the tests, each in a row of its own.
            settings: of every picture.
            bare: whether the first column is drawn without adapter.

        Raises:
            ConfigError: nothing is to be drawn, something stands twice, or it is too much.
        """
        _refuse_empty_and_double(
            {
                "tests": tests,
                "strengths": strengths,
                "seeds": seeds,
                "base_models": base_models,
                "negative_prompts": negative_prompts,
            }
        )
        rows = [
            Row(_with_negative(test, more), seed, model, settings)
            for model, test, more, seed in product(base_models, tests, negative_prompts, seeds)
        ]
        columns = [Column(entrant, each) for entrant, each in product(entrants, strengths)]
        # Of two negative prompts one may be the other's own: what comes out the same stands once.
        return cls(tuple(dict.fromkeys(rows)), (*([Column()] if bare else []), *columns))

    @property
    def size(self) -> int:
        """How many pictures it has."""
        return len(self.rows) * len(self.columns)

    @property
    def entrants(self) -> tuple[Entrant, ...]:
        """The adapters, each once."""
        found = (column.entrant for column in self.columns)
        return tuple(dict.fromkeys(entrant for entrant in found if entrant is not None))

    @property
    def base_models(self) -> tuple[str, ...]:
        """The base models, each once."""
        return tuple(dict.fromkeys(row.base_model for row in self.rows))

    @property
    def has_bare(self) -> bool:
        """Whether the first column is drawn without adapter."""
        return self.columns[0].entrant is None

    def cells(self) -> Iterator[Cell]:
        """In the order in which they are drawn: base model by base model, adapter by adapter."""
        for model, column in product(self.base_models, self.columns):
            yield from (Cell(row, column) for row in self.rows if row.base_model == model)

    @property
    def id(self) -> str:
        """Short name of this grid: the same for the same plan over the same files."""
        content = asdict(self)
        for column in content["columns"]:
            if column["entrant"] is not None:
                del column["entrant"]["path"]
        return _digest(content)[:16]

    @property
    def title(self) -> str:
        """The adapters' names."""
        return ", ".join(entrant.name for entrant in self.entrants) or BARE

    def subtitle(self, about: str = "") -> str:
        """What all rows have in common, such as sampler and size.

        Args:
            about: what the plan does not know, such as the program's version; it comes last.
        """
        first, differing = self.rows[0].parts(), self._differing()
        common = [text for name, text in first.items() if name not in differing]
        return ", ".join(text for text in (*common, about) if text)

    def column_labels(self) -> list[str]:
        """The adapters' names, and their strengths where one is not 1."""
        plain = all(c.entrant is None or c.strength == FULL for c in self.columns)
        return [
            column.adapter
            if column.entrant is None or plain
            else f"{column.adapter} at {column.strength}"
            for column in self.columns
        ]

    def row_labels(self, separator: str = ", ") -> list[str]:
        """The prompt or its name, and what is not the same in all rows.

        Args:
            separator: between the prompt and the rest.
        """
        differing = self._differing()
        labels = []
        for row in self.rows:
            parts = [text for name, text in row.parts().items() if text and name in differing]
            labels.append(separator.join([row.test.title, *([", ".join(parts)] if parts else [])]))
        return labels

    def _differing(self) -> set[str]:
        rows = [row.parts() for row in self.rows]
        names = {name for row in rows for name in row}
        return {name for name in names if len({row.get(name) for row in rows}) > 1}


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "1, 2, 5-8".

    Raises:
        ConfigError: it is not that.
    """
    seeds: list[int] = []
    for part in re.split(r"[,\s]+", text.strip()):
        found = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not 0 <= last - first <= _LONGEST_RANGE:
            raise ConfigError(
                f"{part!r} is no seed", where="seeds", fix="write numbers, such as 1, 2, 5-8"
            )
        seeds += range(first, last + 1)
    return tuple(seeds)


def _refuse_empty_and_double(lists: dict[str, tuple[Any, ...]]) -> None:
    errors = []
    for name, values in lists.items():
        if not values:
            errors.append(ConfigError("nothing is chosen", where=name, fix="choose at least one"))
        if len(set(values)) < len(values):
            twice = Counter(values).most_common(1)[0][0]
            shown = getattr(twice, "title", twice)
            errors.append(ConfigError(f"{shown} stands twice", where=name, fix="name each once"))
    if errors:
        raise together(errors)


def _with_negative(test: PromptTest, more: str) -> PromptTest:
    if not more:
        return test
    joined = ", ".join(text for text in (test.negative_prompt, more) if text)
    return PromptTest(test.prompt, test.label, joined)


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

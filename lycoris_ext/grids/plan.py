"""The plan of a grid: its columns (adapters) and rows (prompts, seeds, models, settings)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from typing import Any

from lycoris_ext.errors import ConfigError, together
from lycoris_ext.grids.entrants import FULL, Entrant, Strength, Use
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import USUAL, Settings
from lycoris_ext.words import count

BARE = "without adapter"
MAX_CELLS = 4096
#: The largest seed of any host; a painter may have a lower limit.
MAX_SEED = 2**64 - 1
_LONGEST_RANGE = 1000


@dataclass(frozen=True)
class Column:
    """A column of a grid: an adapter at a strength, or no adapter if `entrant` is None."""

    entrant: Entrant | None = None
    strength: Strength = FULL

    @property
    def adapter(self) -> str:
        """The adapter's name, or "without adapter"."""
        return BARE if self.entrant is None else self.entrant.name


@dataclass(frozen=True)
class Row:
    """A row of a grid: everything that its pictures have in common, which is all but the adapter.

    Args:
        test: prompt and negative prompt.
        seed: seed of the starting noise.
        base_model: a name that the painter knows; "" is the model that it has loaded.
        settings: size, steps, sampler and so on.
        beside: adapters with which all its pictures are drawn, besides that of the column.
    """

    test: PromptTest
    seed: int
    base_model: str = ""
    settings: Settings = USUAL
    beside: tuple[Use, ...] = ()

    def parts(self) -> dict[str, str]:
        """Describe the row for labels: name -> text such as "20 steps"; "" is not shown.

        The prompt is left out.
        """
        known, negative = self.settings, self.test.negative_prompt
        return {
            "base_model": self.base_model,
            "beside": "with " + " and ".join(map(str, self.beside)) if self.beside else "",
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
    """One picture of a grid: a row drawn with a column's adapter."""

    row: Row
    column: Column

    def key(self, painter: dict[str, str]) -> str:
        """Return the key under which a picture of this cell is cached, as 64 hex digits.

        It is a hash of everything that decides the picture.

        Args:
            painter: what `Painter.decides` says, such as the host's version and the base model's
                hash.
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
        if self.row.beside:  # left out if empty, so that keys of version 0.1.0 stay valid
            content["beside"] = [(u.entrant.hash, str(u.strength)) for u in self.row.beside]
        return _digest(content)


@dataclass(frozen=True)
class GridPlan:
    """What a grid shows; every row is drawn with every column.

    Args:
        rows: prompts, seeds and settings, from top to bottom.
        columns: adapters and strengths, from left to right.

    Raises:
        ConfigError: there are no rows or no columns, one of them occurs twice, a seed is out of
            range, or there are more than MAX_CELLS pictures.
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
        refuse_too_many(len(self.rows), len(self.columns))

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
        settings: Settings | Sequence[Settings] = USUAL,
        beside: tuple[tuple[Use, ...], ...] = ((),),
        bare: bool = True,
    ) -> GridPlan:
        """Plan all combinations: columns of adapter and strength, rows of everything else.

        Args:
            entrants: the adapters.
            tests: prompts, each with its own negative prompt.
            strengths: strengths at which every adapter is drawn.
            seeds: seeds of the starting noise.
            base_models: names that the painter knows. Their rows stay together, because loading
                another model takes long.
            negative_prompts: each is appended to the tests' own negative prompts, in rows of its
                own.
            settings: settings of every picture, or several of them, each in rows of its own; see
                `axes`.
            beside: adapters with which all pictures of a row are drawn, besides that of the
                column; each set of them is drawn in rows of its own.
            bare: whether the first column is drawn without adapter.

        Raises:
            ConfigError: a list is empty or has an entry twice, a seed is out of range, or there
                are more than MAX_CELLS pictures.
        """
        several = (settings,) if isinstance(settings, Settings) else tuple(settings)
        _refuse_empty_and_double(
            {
                "tests": tests,
                "strengths": strengths,
                "seeds": seeds,
                "base_models": base_models,
                "negative_prompts": negative_prompts,
                "settings": several,
                "beside": beside,
            }
        )
        columns = [Column(entrant, each) for entrant, each in product(entrants, strengths)]
        columns[:0] = [Column()] if bare else []
        # They are counted before they are made: there may be more than the memory holds.
        made_of = (base_models, tests, beside, negative_prompts, several, seeds)
        refuse_too_many(prod(map(len, made_of)), len(columns))
        rows = [
            Row(_with_negative(test, more), seed, model, known, uses)
            for model, test, uses, more, known, seed in product(*made_of)
        ]
        # A negative prompt that a test has already can make two rows equal: keep one of them.
        return cls(tuple(dict.fromkeys(rows)), tuple(columns))

    @property
    def size(self) -> int:
        """Number of pictures."""
        return len(self.rows) * len(self.columns)

    @property
    def entrants(self) -> tuple[Entrant, ...]:
        """The adapters, each once."""
        found = (column.entrant for column in self.columns)
        return tuple(dict.fromkeys(entrant for entrant in found if entrant is not None))

    @property
    def used(self) -> tuple[Entrant, ...]:
        """All adapters that are drawn with, those beside the columns' included, each once."""
        others = (use.entrant for row in self.rows for use in row.beside)
        return tuple(dict.fromkeys((*self.entrants, *others)))

    @property
    def base_models(self) -> tuple[str, ...]:
        """The base models, each once."""
        return tuple(dict.fromkeys(row.base_model for row in self.rows))

    @property
    def has_bare(self) -> bool:
        """Whether the first column is drawn without adapter."""
        return self.columns[0].entrant is None

    def cells(self) -> Iterator[Cell]:
        """Yield all cells in drawing order: by base model, then by column, then by row."""
        for model, column in product(self.base_models, self.columns):
            yield from (Cell(row, column) for row in self.rows if row.base_model == model)

    @property
    def id(self) -> str:
        """16 hex digits that identify the plan and its adapters' contents, not their paths."""
        content = asdict(self)
        for column in content["columns"]:
            if column["entrant"] is not None:
                del column["entrant"]["path"]
        for row in content["rows"]:
            for use in row["beside"]:
                del use["entrant"]["path"]
            if not row["beside"]:  # so that ids of version 0.1.0 stay valid
                del row["beside"]
        return _digest(content)[:16]

    @property
    def title(self) -> str:
        """The adapters' names, joined by commas."""
        return ", ".join(entrant.name for entrant in self.entrants) or BARE

    def subtitle(self, about: str = "") -> str:
        """Return the settings that all rows share as text, such as "Euler, 20 steps, 512x512".

        Args:
            about: more text to append, such as the program's version.
        """
        first, differing = self.rows[0].parts(), self._differing()
        common = [text for name, text in first.items() if name not in differing]
        return ", ".join(text for text in (*common, about) if text)

    def column_labels(self) -> list[str]:
        """Return the columns' headings: adapters' names, with strengths if one of them is not 1."""
        all_full = all(c.entrant is None or c.strength == FULL for c in self.columns)
        return [
            column.adapter
            if column.entrant is None or all_full
            else f"{column.adapter} at {column.strength}"
            for column in self.columns
        ]

    def row_labels(self, separator: str = ", ") -> list[str]:
        """Return the rows' labels: the prompt or its label, then the settings in which rows differ.

        Args:
            separator: text between the prompt and the settings.
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


def parse_seeds(text: str, *, random: bool = False) -> tuple[int, ...]:
    """Read seeds from a text such as "1, 2, 5-8".

    Args:
        text: the text.
        random: whether "-1", a random seed, is among the values; it is returned as -1.

    Raises:
        ConfigError: the text has another form, or a range is too long.
    """
    seeds: list[int] = []
    for part in re.split(r"[,\s]+", text.strip()):
        if random and part == "-1":
            seeds.append(-1)
            continue
        found = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not 0 <= last - first <= _LONGEST_RANGE:
            raise ConfigError(
                f"{part!r} is no seed", where="seeds", fix="write numbers, such as 1, 2, 5-8"
            )
        seeds += range(first, last + 1)
    return tuple(seeds)


def refuse_too_many(rows: int, columns: int = 1) -> None:
    """Refuse a grid of more than MAX_CELLS pictures.

    Raises:
        ConfigError: there are more.
    """
    if rows * columns > MAX_CELLS:
        raise ConfigError(
            f"{count(rows, 'row')} and {count(columns, 'column')} are "
            f"{count(rows * columns, 'picture')}",
            where="grid",
            fix=f"ask for at most {MAX_CELLS}",
        )


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

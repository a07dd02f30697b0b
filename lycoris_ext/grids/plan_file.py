"""Write a grid's plan as grid.json, with what is known about each cell, and read it back.

The plan is the first file of a grid and the smallest: with it and the cells in a `CellStore` a grid
can be shown again and gone on with after its program was killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.files import read_within
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.json_text import MAX_BYTES
from lycoris_ext.formats.sealed import sealed_json, unsealed_json
from lycoris_ext.grids.cells import CellStore, StoredCell
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.entrants import Entrant, Strength, Use
from lycoris_ext.grids.plan import Cell, Column, GridPlan, Row
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings

PLAN = "grid.json"


def write_plan(folder: Path, grid: Grid[StoredCell], form: Mapping[str, Any] | None = None) -> Path:
    """Write grid.json.

    Args:
        folder: the grid's folder; it is made if needed.
        grid: the plan and the pictures drawn so far.
        form: JSON values that are kept beside the plan, such as the fields of the form in which
            the grid was asked for; see `read_form`.

    Raises:
        EnvironmentFault: the disk is full or the folder cannot be written.
    """
    table = grid.table()
    content = {
        "id": grid.plan.id,
        **asdict(grid.plan),
        "faults": [[kept and kept.fault for kept in line] for line in table],
        "keys": [[kept and kept.key for kept in line] for line in table],
        "form": dict(form or {}),
    }
    atomic_write(folder / PLAN, sealed_json(content))
    return folder / PLAN


def read_plan(path: Path) -> GridPlan:
    """Read the plan from a grid.json; its adapter files need not exist any more.

    Raises:
        DataError: the file is not what `write_plan` writes.
    """
    with _content(path) as content:
        return _plan(content)


def read_faults(path: Path) -> list[list[str | None]]:
    """Read from a grid.json what is wrong with each cell.

    Returns:
        Rows of faults: "" for a cell without fault, None for one that is not drawn. The list is
        empty if version 0.1.0 wrote the file, which did not store faults.

    Raises:
        DataError: the file is not what `write_plan` writes.
    """
    with _content(path) as content:
        faults: list[list[str | None]] = content.get("faults", [])
        return faults


def read_keys(path: Path) -> set[str]:
    """Read from a grid.json the keys of its cells' pictures in the store.

    Raises:
        DataError: the file is not what `write_plan` writes.
    """
    with _content(path) as content:
        return {str(key) for line in content.get("keys", []) for key in line if key is not None}


def read_form(path: Path) -> dict[str, Any]:
    """Read the values that `write_plan` kept beside the plan; {} if there are none.

    Raises:
        DataError: the file is not what `write_plan` writes.
    """
    with _content(path) as content:
        return dict(content.get("form", {}))


def read_grid(path: Path, store: CellStore) -> Grid[StoredCell]:
    """Read a grid with the pictures that it had when its grid.json was written.

    Args:
        path: the grid.json.
        store: where the pictures are kept; one that is missing there is left out.

    Raises:
        DataError: the file is not what `write_plan` writes.
    """
    with _content(path) as content:
        plan = _plan(content)
        grid: Grid[StoredCell] = Grid(plan)
        for row, keys, faults in zip(
            plan.rows, content.get("keys", []), content.get("faults", []), strict=False
        ):
            for column, key, fault in zip(plan.columns, keys, faults, strict=False):
                stored = None if key is None else store.kept(str(key), str(fault or ""))
                if stored is not None:
                    grid.cells[Cell(row, column)] = stored
        return grid


def _plan(content: Any) -> GridPlan:
    if "rows" not in content:
        return _crossed(content)
    return GridPlan(
        tuple(
            Row(
                PromptTest(**row["test"]),
                row["seed"],
                row["base_model"],
                _settings(row),
                tuple(map(_use, row.get("beside", ()))),
            )
            for row in content["rows"]
        ),
        tuple(
            Column(
                column["entrant"] and _entrant(column["entrant"]),
                Strength(**column["strength"]),
            )
            for column in content["columns"]
        ),
    )


def _crossed(content: Any) -> GridPlan:
    """Turn the JSON that version 0.1.0 wrote into a plan."""
    return GridPlan.crossed(
        tuple(map(_entrant, content["entrants"])),
        tuple(PromptTest(**test) for test in content["tests"]),
        strengths=tuple(Strength(**strength) for strength in content["strengths"]),
        seeds=tuple(content["seeds"]),
        base_models=tuple(content["base_models"]),
        negative_prompts=tuple(content["negative_prompts"]),
        settings=_settings(content),
    )


def _entrant(content: Any) -> Entrant:
    path = content["path"]
    return Entrant(content["name"], content["hash"], None if path is None else Path(path))


def _use(content: Any) -> Use:
    return Use(_entrant(content["entrant"]), Strength(**content["strength"]))


def _settings(content: Any) -> Settings:
    known = dict(content["settings"])
    known["extra"] = tuple((name, value) for name, value in known.get("extra", ()))
    return Settings(**known)


@contextmanager
def _content(path: Path) -> Iterator[Any]:
    try:
        yield unsealed_json(read_within(path, MAX_BYTES))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
        raise DataError(
            f"this is no plan of a grid ({error})", where=str(path), fix="draw the grid again"
        ) from error

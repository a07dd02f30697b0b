"""Votes for the best cell of each row of a grid, stored in a JSON file in the run's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.errors import DataError
from lycoris_ext.files import read_within
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.json_text import MAX_BYTES
from lycoris_ext.formats.sealed import sealed_json, unsealed_json
from lycoris_ext.grids.plan import Cell, GridPlan, Row

FILE = "lycoris-ext-votes.json"
#: Version 2 has votes with a label; other files stay readable for version 0.1.0.
_VERSION = 2


@dataclass(frozen=True)
class Vote:
    """A vote for one cell as the best of its row.

    Args:
        grid: id of the grid's plan.
        prompt, negative_prompt, seed, base_model: the row.
        adapter, hash, strength: the chosen column; all "" for the one without adapter.
        label: of the row, where other rows of the grid have the same prompt, seed and model and
            differ in settings; else "".
    """

    grid: str
    prompt: str
    negative_prompt: str
    seed: int
    base_model: str
    adapter: str
    hash: str
    strength: str
    label: str = ""

    @classmethod
    def of(cls, grid: str, cell: Cell, label: str = "") -> Vote:
        """Return the vote for a cell of a grid.

        Args:
            grid: id of the grid's plan.
            cell: the cell that is the best of its row.
            label: what `telling_labels` says of that row.
        """
        entrant = cell.column.entrant
        return cls(
            grid,
            cell.row.test.prompt,
            cell.row.test.negative_prompt,
            cell.row.seed,
            cell.row.base_model,
            "" if entrant is None else entrant.name,
            "" if entrant is None else entrant.hash,
            "" if entrant is None else str(cell.column.strength),
            label,
        )

    @property
    def ballot(self) -> tuple[str, str, str, int, str, str]:
        """What identifies the row of the vote: a later vote with the same ballot replaces it."""
        row = (self.prompt, self.negative_prompt, self.seed, self.base_model, self.label)
        return (self.grid, *row)

    def as_dict(self) -> dict[str, Any]:
        """Return the vote for JSON; without its label if that is empty, as in version 0.1.0."""
        content = asdict(self)
        if not self.label:
            del content["label"]
        return content


def telling_labels(plan: GridPlan) -> dict[Row, str]:
    """Return the labels of those rows that differ in settings alone; "" for the other rows."""
    votes = [Vote.of("", Cell(row, plan.columns[0])) for row in plan.rows]
    alike = Counter(votes)
    return {
        row: label if alike[vote] > 1 else ""
        for row, label, vote in zip(plan.rows, plan.row_labels(), votes, strict=True)
    }


def file_version(labels: Iterable[str]) -> int:
    """Return the version of a file of votes, given the labels in them."""
    return _VERSION if any(labels) else 1


def read_votes(folder: Path) -> list[Vote]:
    """Read the votes stored in a run's folder; the list is empty if there is no file.

    Raises:
        DataError: the file is not what `cast` writes, or a newer version wrote it.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        content = unsealed_json(read_within(path, MAX_BYTES))
        if content["version"] > _VERSION:
            raise DataError(
                f"these votes are of version {content['version']}, and this program reads "
                f"{_VERSION}",
                where=str(path),
                fix="update lycoris-ext, or move the file away",
            )
        return [Vote(**vote) for vote in content["votes"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"this is no file of votes ({error})",
            where=str(path),
            fix="move it away; new votes go into a new file",
        ) from error


def cast(folder: Path, vote: Vote) -> list[Vote]:
    """Store a vote in a run's folder, in place of an earlier vote for the same row.

    Returns:
        All votes in the file.

    Raises:
        DataError: the existing file cannot be read as votes; it is not changed.
        EnvironmentFault: the file cannot be written.
    """
    return _write(folder, [*_others(folder, vote), vote])


def withdraw(folder: Path, vote: Vote) -> list[Vote]:
    """Remove the vote for a row from a run's folder; see `cast`.

    Args:
        folder: the run's folder.
        vote: a vote for any cell of that row.
    """
    return _write(folder, _others(folder, vote))


def _others(folder: Path, vote: Vote) -> list[Vote]:
    return [other for other in read_votes(folder) if other.ballot != vote.ballot]


def _write(folder: Path, votes: list[Vote]) -> list[Vote]:
    version = file_version(each.label for each in votes)
    content = {"version": version, "votes": [each.as_dict() for each in votes]}
    atomic_write(folder / FILE, sealed_json(content))
    return votes


def tally(votes: list[Vote], grid: str = "") -> Mapping[tuple[str, str], int]:
    """Count votes: (adapter, strength) -> number of votes, most votes first.

    Args:
        votes: the votes of a run's folder.
        grid: id of the only grid to count; "" counts all.
    """
    counted = [vote for vote in votes if not grid or vote.grid == grid]
    counts = Counter((vote.adapter, vote.strength) for vote in counted)
    return dict(counts.most_common())

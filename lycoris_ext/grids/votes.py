"""Votes for the best cell of each row of a grid, stored in a JSON file in the run's folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.formats import atomic_write
from lycoris_ext.grids.plan import Cell

FILE = "lycoris-ext-votes.json"
_VERSION = 1


@dataclass(frozen=True)
class Vote:
    """A vote for one cell as the best of its row.

    Args:
        grid: id of the grid's plan.
        prompt, negative_prompt, seed, base_model: the row.
        adapter, hash, strength: the chosen column; all "" for the one without adapter.
    """

    grid: str
    prompt: str
    negative_prompt: str
    seed: int
    base_model: str
    adapter: str
    hash: str
    strength: str

    @classmethod
    def of(cls, grid: str, cell: Cell) -> Vote:
        """Return the vote for a cell of a grid.

        Args:
            grid: id of the grid's plan.
            cell: the cell that is the best of its row.
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
        )

    @property
    def ballot(self) -> tuple[str, str, str, int, str]:
        """What identifies the row of the vote: a later vote with the same ballot replaces it."""
        return (self.grid, self.prompt, self.negative_prompt, self.seed, self.base_model)


def read_votes(folder: Path) -> list[Vote]:
    """Read the votes stored in a run's folder; the list is empty if there is no file.

    Raises:
        DataError: the file is not what `cast` writes, or a newer version wrote it.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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
    content = {"version": _VERSION, "votes": [asdict(each) for each in votes]}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    atomic_write(folder / FILE, text.encode("utf-8"))
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

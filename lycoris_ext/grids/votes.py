"""Which cell is best, by eye: votes, in a JSON beside the run."""

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
    """One choice: of all cells in a row of a grid, this one.

    Args:
        grid: id of the plan.
        row: what was asked: prompt, negative prompt, seed, base model.
        adapter, hash, strength: what was chosen; without adapter: "" each.
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
        """The vote for a cell."""
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
        """What one vote is given for: a later one for the same replaces it."""
        return (self.grid, self.prompt, self.negative_prompt, self.seed, self.base_model)


def read_votes(folder: Path) -> list[Vote]:
    """The votes beside a run; a file that is not there has none.

    Raises:
        DataError: the file is not what `cast` writes, or of a newer version.
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
            fix="move it away; what is voted from now on goes into a new one",
        ) from error


def cast(folder: Path, vote: Vote) -> list[Vote]:
    """Add a vote to those beside a run, in place of an earlier one for the same row.

    Returns:
        All votes there.

    Raises:
        DataError: the file that is there is none of ours; it is left alone.
        EnvironmentFault: it cannot be written.
    """
    return _write(folder, [*_others(folder, vote), vote])


def withdraw(folder: Path, vote: Vote) -> list[Vote]:
    """Take the vote for a row back, whichever cell it was for; see `cast`."""
    return _write(folder, _others(folder, vote))


def _others(folder: Path, vote: Vote) -> list[Vote]:
    return [other for other in read_votes(folder) if other.ballot != vote.ballot]


def _write(folder: Path, votes: list[Vote]) -> list[Vote]:
    content = {"version": _VERSION, "votes": [asdict(each) for each in votes]}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    atomic_write(folder / FILE, text.encode("utf-8"))
    return votes


def tally(votes: list[Vote], grid: str = "") -> Mapping[tuple[str, str], int]:
    """(adapter, strength) -> votes, the most first; of one grid where one is named."""
    counted = [vote for vote in votes if not grid or vote.grid == grid]
    counts = Counter((vote.adapter, vote.strength) for vote in counted)
    return dict(counts.most_common())

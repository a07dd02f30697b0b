"""What the tab and the routes do: list, check, draw, vote, install. Both call nothing else."""

from __future__ import annotations

import stat
import threading
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.errors import DataError, LycorisExtError
from lycoris_ext.formats import load_adapter
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles, list_run, read_checkpoint
from lycoris_ext.grids.fit import Fit, check_fit
from lycoris_ext.grids.output import PAGE, PICTURE, PLAN, read_faults, read_plan
from lycoris_ext.grids.plan import BARE, Cell, Entrant, GridPlan
from lycoris_ext.grids.votes import Vote, cast, read_votes, tally, withdraw
from webui_extension.jobs import Host, Job, Jobs
from webui_extension.places import NotAllowed, Places
from webui_extension.staging import FOLDER, Staging
from webui_extension.winner import install_winner

#: How deep below an allowed folder runs are looked for, and how many folders are looked into.
_DEPTH = 3
_LOOKED_INTO = 4000


class Laboratory:
    """One host's laboratory; it outlives a reload of the page and of the host's scripts.

    Args:
        host: what draws.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.places = Places(lambda: [*host.allowed_folders(), host.output_folder()])
        self.staging = Staging(host.lora_folder())
        self.jobs = Jobs(host, self.staging, self.check)
        self._voting = threading.Lock()

    # Pick

    def runs(self) -> tuple[list[Path], str]:
        """Folders with adapters below the allowed ones, the youngest first.

        Returns:
            (folders, what was left out, in words; "" where nothing was).
        """
        found: dict[Path, float] = {}
        waiting = [(folder, 0) for folder in self.places.folders()]
        looked = 0
        while waiting and looked < _LOOKED_INTO:
            folder, depth = waiting.pop(0)
            looked += 1
            try:
                entries = list(folder.iterdir())
                inner = [e for e in entries if e.is_dir() and not e.name.startswith((".", "_"))]
            except OSError:
                continue  # a folder that we may not look into
            age = max((_written(e) for e in entries if e.suffix == ".safetensors"), default=0.0)
            if age and folder.name not in (FOLDER, "Stable-diffusion", "VAE"):
                found[folder] = age
            if depth < _DEPTH:
                waiting += [(e, depth + 1) for e in inner if not e.is_symlink()]
        note = (
            f"Only {looked} of the allowed folders were looked into: a run that is missing here "
            "can be named by its folder."
        )
        return sorted(found, key=lambda folder: -found[folder]), note if waiting else ""

    def pick(self, text: str) -> RunFiles:
        """The checkpoints of a run's folder, or of one file; links that lead out are refused.

        Raises:
            DataError: there is none, or it is outside the allowed folders.
        """
        return list_run(self.places.resolve(text), self.places.resolve)

    def checkpoint(self, text: str) -> Checkpoint:
        """One file.

        Raises:
            DataError, FormatError: it is not there, outside, or no adapter.
        """
        return read_checkpoint(self.places.resolve(text))

    def check(self, checkpoint: Checkpoint) -> Fit:
        """What this host would make of a file; nothing is drawn.

        Raises:
            FormatError: the host's loader refuses it.
        """
        name = self.staging.name(checkpoint.name, checkpoint.hash)
        applied = self.host.applied_layers(checkpoint.path, name)
        return check_fit(load_adapter(checkpoint.path), applied, self.host.traits())

    def verdict(self, checkpoint: Checkpoint) -> str:
        """`check`, in words, whatever comes of it."""
        try:
            return str(self.check(checkpoint))
        except LycorisExtError as error:
            return error.what

    # Test

    def start(self, plan: GridPlan) -> Job:
        """Draw a grid in the background; see `Jobs`.

        Raises:
            ConfigError: another grid is being drawn, or a prompt has a network's tag.
            DataError: a file is outside the allowed folders.
        """
        for entrant in plan.entrants:
            self.places.resolve(entrant.path)
        return self.jobs.start(plan, self.grid_folder(plan.id))

    # Judge

    def grid_folder(self, grid: str) -> Path:
        """Where a grid's page, picture and plan lie.

        Raises:
            NotAllowed: the id is none.
        """
        if len(grid) != 16 or set(grid) - set("0123456789abcdef"):
            raise NotAllowed("this is no grid's id", where=grid[:40], fix="list the grids")
        return self.host.output_folder() / "grids" / grid

    def grids(self) -> list[str]:
        """The ids of all grids, the youngest first."""
        folder = self.host.output_folder() / "grids"
        if not folder.is_dir():
            return []
        plans = sorted(folder.glob(f"*/{PLAN}"), key=_written, reverse=True)
        return [path.parent.name for path in plans]

    def page(self, grid: str) -> Path:
        """The page of a grid.

        Raises:
            DataError: there is none yet.
        """
        return self._file(grid, PAGE)

    def picture(self, grid: str) -> Path:
        """The labelled PNG of a grid.

        Raises:
            DataError: there is none yet.
        """
        return self._file(grid, PICTURE)

    def _file(self, grid: str, name: str) -> Path:
        path = self.grid_folder(grid) / name
        if not path.is_file():
            raise DataError("this grid has none yet", where=name, fix="draw the grid first")
        return path

    def vote(self, grid: str, row: int, column: int) -> list[Vote]:
        """Vote for the best cell of a row; kept beside the run of the first adapter.

        Args:
            grid: its id.
            row, column: of the cell, from 0; column -1 takes the row's vote back.

        Returns:
            All votes there.

        Raises:
            DataError: there is no such grid or cell, it is faulty or not drawn, or its run is
                outside the allowed folders.
        """
        path = self._file(grid, PLAN)
        plan, faults = read_plan(path), read_faults(path)
        rows, columns = plan.rows, plan.columns
        if not (0 <= row < len(rows) and -1 <= column < len(columns)):
            raise DataError(
                f"the grid has {len(rows)} rows and {len(columns)} columns",
                where=f"row {row}, column {column}",
                fix="count both from 0",
            )
        if column >= 0 and faults and faults[row][column] != "":
            raise DataError(
                faults[row][column] or "this picture is not drawn yet",
                where=f"row {row}, column {column}",
                fix="draw the grid again, or vote for a picture that is as it should be",
            )
        vote = Vote.of(grid, Cell(rows[row], columns[column], plan.settings))
        with self._voting:  # the file is read and written again
            keep = withdraw if column == -1 else cast
            return keep(self._voting_folder(plan), vote)

    def votes(self, grid: str) -> dict[str, int]:
        """Heading -> votes of a grid, the most first."""
        plan = read_plan(self._file(grid, PLAN))
        counts = tally(read_votes(self._voting_folder(plan)), grid)
        return {
            f"{name} at {strength}" if name else BARE: count
            for (name, strength), count in counts.items()
        }

    def stars(self, grid: str) -> dict[int, int]:
        """Row -> column of each cell that was voted the best of its row."""
        plan = read_plan(self._file(grid, PLAN))
        kept = read_votes(self._voting_folder(plan))
        return {
            r: c
            for r, row in enumerate(plan.rows)
            for c, column in enumerate(plan.columns)
            if Vote.of(grid, Cell(row, column, plan.settings)) in kept
        }

    def _voting_folder(self, plan: GridPlan) -> Path:
        if not plan.entrants:
            return self.grid_folder(plan.id)
        return self.places.resolve(plan.entrants[0].path.parent)

    # Use

    def install(
        self, path: str, name: str, *, preview: str = "", description: str = "", strength: float = 1
    ) -> list[Path]:
        """Put an adapter into the host's folder of networks; see `install_winner`.

        Raises:
            ConfigError, DataError: the name or a path cannot be used.
        """
        checkpoint = self.checkpoint(path)
        picture = self.places.resolve(preview) if preview else None
        written = install_winner(
            self.host.lora_folder(),
            checkpoint,
            name,
            preview=picture,
            description=description,
            strength=strength,
        )
        self.host.refresh_networks()
        return written

    def best_picture(self, checkpoint: Checkpoint) -> Path | None:
        """The picture of an adapter in the last grid: a preview for its card."""
        if self.jobs.last is None:
            return None
        for cell, stored in list(self.jobs.last.grid.cells.items()):
            entrant = cell.column.entrant
            if entrant is not None and entrant.hash == checkpoint.hash and not stored.fault:
                return stored.path
        return None


def _written(path: Path) -> float:
    """When a file was; 0 where it is none, or has gone since its folder was listed."""
    try:
        state = path.stat()
    except OSError:
        return 0.0
    return state.st_mtime if stat.S_ISREG(state.st_mode) else 0.0


def entrants(checkpoints: Sequence[Checkpoint]) -> tuple[Entrant, ...]:
    """Checkpoints as columns; where two have one name, the hash tells them apart."""
    names = [checkpoint.name for checkpoint in checkpoints]
    return tuple(
        Entrant(c.name if names.count(c.name) == 1 else f"{c.name} ({c.hash[:6]})", c.hash, c.path)
        for c in checkpoints
    )

"""List, check, draw, vote and install: everything that the tab and the API offer."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, DataError, LycorisExtError
from lycoris_ext.formats import atomic_write, load_adapter
from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles, list_run, read_checkpoint
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.fit import Fit, check_fit
from lycoris_ext.grids.output import PICTURE
from lycoris_ext.grids.page import PAGE, end_page, single_file
from lycoris_ext.grids.page_pictures import FOLDER as CELLS
from lycoris_ext.grids.plan import BARE, Cell, GridPlan
from lycoris_ext.grids.plan_file import PLAN, read_faults, read_form, read_grid, read_plan
from lycoris_ext.grids.votes import (
    Vote,
    cast,
    read_votes,
    tally,
    telling_labels,
    withdraw,
)
from lycoris_ext.words import count
from webui_extension.allowed_folders import AllowedFolders, NotAllowed
from webui_extension.jobs import Host, Job, Jobs
from webui_extension.kept_grids import KeptGrids
from webui_extension.preview import Preview, choose
from webui_extension.staging import OLD_FOLDER, Staging, staged_name
from webui_extension.winner import install_winner, set_preview

#: How deep below an allowed folder runs are searched, and how many folders are searched at most.
_DEPTH = 3
_MAX_SEARCHED = 4000
_STAGED = "staged"
_NO_RUNS = (_STAGED, OLD_FOLDER, "Stable-diffusion", "VAE")


class Laboratory:
    """The actions of the tab and the API on one host.

    There is one object per host process. It survives a reload of the page and of the host's
    scripts.

    Args:
        host: draws pictures and names its folders and models.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.allowed_folders = AllowedFolders(
            lambda: [*host.allowed_folders(), host.output_folder()], told=host.tells_folders
        )
        self.staging = Staging(host.output_folder() / _STAGED)
        self.jobs = Jobs(host, self.staging, self.check)
        self._voting = threading.Lock()

    # Pick

    def runs(self) -> tuple[list[Path], str]:
        """Find folders with adapters in and below the allowed folders, newest first.

        Returns:
            The folders, and a note for the user if the search stopped early, else "".
        """
        found: dict[Path, float] = {}
        waiting = [(folder, 0) for folder in self.allowed_folders.folders()]
        looked = 0
        while waiting and looked < _MAX_SEARCHED:
            folder, depth = waiting.pop(0)
            looked += 1
            try:
                entries = list(folder.iterdir())
                inner = [e for e in entries if e.is_dir() and not e.name.startswith((".", "_"))]
            except OSError:
                continue  # we have no permission to list this folder
            age = max((_written(e) for e in entries if e.suffix == ".safetensors"), default=0.0)
            if age and folder.name not in _NO_RUNS:
                found[folder] = age
            if depth < _DEPTH:
                waiting += [(e, depth + 1) for e in inner if not e.is_symlink()]
        note = (
            f"The search stopped after {count(looked, 'folder')}. If a run is missing from this "
            "list, type its folder."
        )
        return sorted(found, key=lambda folder: -found[folder]), note if waiting else ""

    def pick(self, text: str) -> RunFiles:
        """List the checkpoints in a run's folder, or the one checkpoint in a file.

        Files that are symbolic links to outside the allowed folders are refused.

        Raises:
            DataError: the path does not exist or lies outside the allowed folders.
        """
        return list_run(self.allowed_folders.resolve(text), self.allowed_folders.resolve)

    def checkpoint(self, text: str) -> Checkpoint:
        """Read and describe the adapter file at a path that the user typed or chose.

        Its tensors are not kept.

        Raises:
            DataError: the file does not exist or lies outside the allowed folders.
            FormatError: it is no adapter, damaged, or a pickle.
        """
        return read_checkpoint(self.allowed_folders.resolve(text))

    def check(self, checkpoint: Checkpoint) -> Fit:
        """Compare an adapter with the loaded base model through the host's loader, without drawing.

        Raises:
            FormatError: the host's loader refuses the file.
        """
        name = staged_name(checkpoint.name, checkpoint.hash)
        applied = self.host.applied_layers(checkpoint.path, name)
        return check_fit(load_adapter(checkpoint.path), applied, self.host.traits())

    def verdict(self, checkpoint: Checkpoint) -> str:
        """Return the result of `check`, or of its error, as a sentence."""
        try:
            return str(self.check(checkpoint))
        except LycorisExtError as error:
            return error.what

    # Test

    def start(self, plan: GridPlan, form: Mapping[str, Any] | None = None) -> Job:
        """Start drawing a grid in the background; see `Jobs`.

        Args:
            plan: what the grid shows.
            form: the request for it, which is kept beside the plan.

        Raises:
            ConfigError: another grid is being drawn, or a prompt holds a tag such as
                <hypernet:...>.
            DataError: an adapter file is outside the allowed folders.
            EnvironmentFault: the grid's folder cannot be written.
        """
        for entrant in plan.used:
            self.allowed_folders.resolve(entrant.file)
        job = self.jobs.start(plan, self.grid_folder(plan.id), form)
        self.kept.hide(plan.id, False)  # who draws a hidden grid again wants to see it
        return job

    def go_on(self, grid: str) -> Job:
        """Go on with a grid on the disk: draw the pictures that it lacks.

        Raises:
            ConfigError, DataError, EnvironmentFault: see `start`.
        """
        path = self.kept.file(grid, PLAN)
        return self.start(read_plan(path), read_form(path))

    # Judge

    @property
    def kept(self) -> KeptGrids:
        """The grids on the disk."""
        return KeptGrids(self.host.output_folder() / "grids", self.jobs)

    def grid_folder(self, grid: str) -> Path:
        """Return the folder of a grid's page, picture and plan, which need not exist.

        Args:
            grid: the grid's id, 16 hex digits.

        Raises:
            NotAllowed: the text is no such id.
        """
        return self.kept.folder(grid)

    def grids(self) -> list[str]:
        """Return the ids of all grids on the disk that are not hidden, newest first."""
        return self.kept.ids()

    def page(self, grid: str) -> Path:
        """Return the path of a grid's HTML page, which has no more pictures to wait for.

        Raises:
            DataError: it is not written yet.
        """
        path = self._file(grid, PAGE)
        if not self.jobs.is_drawing(path.parent):
            with suppress(LycorisExtError):  # a page of version 0.1.0 waits for none
                end_page(path)
        return path

    def cell(self, grid: str, name: str) -> Path:
        """Return the path of one picture of a grid's page.

        Args:
            grid: the grid's id.
            name: the picture's file name, as the page has it.

        Raises:
            DataError: there is no such picture.
        """
        if set(name) - set("0123456789abcdefghijklmnopqrstuvwxyz-."):
            raise NotAllowed("this is no picture of a grid", where=name[:60], fix="read the page")
        return self._file(grid, f"{CELLS}/{name}")

    def file(self, grid: str) -> Path:
        """Write a grid's page with its pictures inside it, and return the path of that file.

        Raises:
            DataError: the page or one of its pictures is not there.
            EnvironmentFault: the disk is full or the folder cannot be written.
        """
        page = self.page(grid)
        path = page.with_name(f"grid-{grid}.html")
        atomic_write(path, single_file(page).encode("utf-8"))
        return path

    def picture(self, grid: str) -> Path:
        """Return the path of a grid's labelled PNG.

        Raises:
            DataError: it is not written yet.
        """
        return self._file(grid, PICTURE)

    def _file(self, grid: str, name: str) -> Path:
        return self.kept.file(grid, name)

    def vote(self, grid: str, row: int, column: int) -> list[Vote]:
        """Vote for the best cell of a row, in place of an earlier vote for that row.

        The votes are kept in one file in the folder of the grid's first adapter, or in the grid's
        own folder if it has no adapter.

        Args:
            grid: the grid's id.
            row, column: the cell, counted from 0; column -1 removes the row's vote.

        Returns:
            All votes in that file, those of other grids included.

        Raises:
            DataError: there is no such grid or cell, its picture is faulty or not drawn yet, the
                adapter's folder is outside the allowed folders, or the file of votes is damaged.
            EnvironmentFault: the file of votes cannot be written.
        """
        path = self._file(grid, PLAN)
        plan, faults = read_plan(path), read_faults(path)
        rows, columns = plan.rows, plan.columns
        if not (0 <= row < len(rows) and -1 <= column < len(columns)):
            raise DataError(
                f"the grid has {count(len(rows), 'row')} and {count(len(columns), 'column')}",
                where=f"row {row}, column {column}",
                fix="count both from 0",
            )
        if column >= 0 and faults and faults[row][column] != "":
            raise DataError(
                faults[row][column] or "this picture is not drawn yet",
                where=f"row {row}, column {column}",
                fix="draw the grid again, or vote for a picture without a fault",
            )
        label = telling_labels(plan)[rows[row]]
        vote = Vote.of(grid, Cell(rows[row], columns[column]), label)
        with self._voting:  # two votes at once would lose one: the file is read, then rewritten
            keep = withdraw if column == -1 else cast
            return keep(self._voting_folder(grid, plan), vote)

    def votes(self, grid: str) -> dict[str, int]:
        """Count a grid's votes: column heading -> number of votes, most votes first."""
        plan = read_plan(self._file(grid, PLAN))
        counts = tally(read_votes(self._voting_folder(grid, plan)), grid)
        return {
            f"{name} at {strength}" if name else BARE: count
            for (name, strength), count in counts.items()
        }

    def stars(self, grid: str) -> dict[int, int]:
        """Return the winner of each row that has a vote: row -> column, counted from 0."""
        plan = read_plan(self._file(grid, PLAN))
        kept = read_votes(self._voting_folder(grid, plan))
        labels = telling_labels(plan)
        return {
            r: c
            for r, row in enumerate(plan.rows)
            for c, column in enumerate(plan.columns)
            if Vote.of(grid, Cell(row, column), labels[row]) in kept
        }

    def _voting_folder(self, grid: str, plan: GridPlan) -> Path:
        if not plan.entrants:
            return self.grid_folder(grid)
        return self.allowed_folders.resolve(plan.entrants[0].file.parent)

    # Use

    def install(
        self, path: str, name: str, *, preview: str = "", description: str = "", strength: float = 1
    ) -> list[Path]:
        """Copy an adapter into the host's LoRA folder; see `install_winner`.

        Returns:
            The files that were written.

        Raises:
            ConfigError, DataError: the name or a path cannot be used.
        """
        checkpoint = self.checkpoint(path)
        picture = self.allowed_folders.resolve(preview) if preview else None
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

    def set_preview(self, checkpoint: Checkpoint, strength: float = 1.0) -> tuple[Path, str]:
        """Give an adapter that is in the host's LoRA folder the picture that was voted for.

        Returns:
            The path of the preview, and which picture it is.

        Raises:
            ConfigError: the adapter is not in the host's LoRA folder.
            DataError: it has no picture to show.
            EnvironmentFault: the preview cannot be written.
        """
        if self.host.lora_folder().resolve() not in checkpoint.path.resolve().parents:
            raise ConfigError(
                "this adapter is not in the host's LoRA folder",
                where=str(checkpoint.path),
                fix="install it",
            )
        chosen = self.preview(checkpoint, strength)
        if chosen.path is None:
            raise DataError(chosen.why, where=checkpoint.name, fix="draw a grid with it")
        return set_preview(checkpoint.path, chosen.path), chosen.why

    def preview(self, checkpoint: Checkpoint, strength: float = 1.0) -> Preview:
        """Choose the adapter's picture for its card: that which was voted for, or else the first.

        Args:
            checkpoint: the adapter.
            strength: the preferred strength, whose pictures come first if there is no vote.
        """
        return choose(self._grids_with(checkpoint), checkpoint.hash, strength)

    def _grids_with(
        self, checkpoint: Checkpoint
    ) -> Iterator[tuple[Grid[StoredCell], Sequence[Vote]]]:
        """Yield the grids that show an adapter, newest first, with the votes for their cells."""
        for grid in self.kept.ids(hidden=True):
            path = self.kept.folder(grid) / PLAN
            try:
                plan = read_plan(path)
                if checkpoint.hash in {entrant.hash for entrant in plan.entrants}:
                    drawn = read_grid(path, self.jobs.store)
                    yield drawn, self._votes_of(grid, plan)
            except DataError:
                continue  # written by another version

    def _votes_of(self, grid: str, plan: GridPlan) -> list[Vote]:
        try:
            return read_votes(self._voting_folder(grid, plan))
        except DataError:
            return []  # the run's folder is gone


def _written(path: Path) -> float:
    """Return a file's modification time in seconds; 0 if it is no file or does not exist."""
    try:
        state = path.stat()
    except OSError:
        return 0.0
    return state.st_mtime if stat.S_ISREG(state.st_mode) else 0.0

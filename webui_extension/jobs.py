"""Draw grids in a background thread, one grid at a time; finished cells stay cached on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.functional import LayerSpec
from lycoris_ext.grids.cells import CellStore, StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint, read_checkpoint
from lycoris_ext.grids.draw import Grid, GridProgress, draw_grid
from lycoris_ext.grids.entrants import Entrant, Use
from lycoris_ext.grids.fit import Fit, HostTraits
from lycoris_ext.grids.output import GridWriter
from lycoris_ext.grids.page import PAGE
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.plan_file import PLAN, write_plan
from webui_extension.door import Openness
from webui_extension.painter import DrawingHost, WebuiPainter, refuse_tags
from webui_extension.staging import OLD_FOLDER, Staged, Staging, empty, staged_name

#: Relative address from a grid's page to the route that stores votes.
_VOTES = "../../votes"
#: Seconds by which the time of a file may lie before the time of the program that wrote it.
_CLOCK = 0.05


class Host(DrawingHost, Protocol):
    """The methods of a host that the laboratory calls; `WebuiHost` implements and explains them."""

    def lora_folder(self) -> Path: ...
    def output_folder(self) -> Path: ...
    def allowed_folders(self) -> list[Path]: ...
    def traits(self) -> HostTraits: ...
    def applied_layers(self, path: Path, name: str) -> dict[str, LayerSpec | None]: ...
    def interrupt(self) -> None: ...
    def refresh_networks(self) -> None: ...
    def has_api(self) -> bool: ...
    def has_open_api(self) -> bool: ...
    def train_python(self) -> str: ...
    def may_start_programs(self) -> bool: ...
    def openness(self) -> Openness: ...
    def tells_folders(self) -> bool: ...
    def base_models(self) -> list[str]: ...
    def samplers(self) -> list[str]: ...
    def choices(self, axis: str) -> list[str] | None: ...
    def vae_titled(self, name: str) -> str: ...
    def styles(self) -> dict[str, tuple[str, str]]: ...
    def network_named(self, name: str) -> Path | None: ...
    def name_of_network(self, path: Path) -> str | None: ...
    def lend(self, adapter: Staged) -> None: ...
    def forget(self, names: Iterable[str]) -> None: ...


@dataclass
class Job:
    """A grid that is being drawn or has been drawn.

    Args:
        plan: what the grid shows.
        folder: where its page and picture are written.
        progress: the latest progress.
        grid: the cells that are drawn so far.
        problem: the message of the error that ended it; "" if there was none.
        notes: what else the user should know, such as a file that could not be written.
        stop: set to stop after the current picture.
        ended: set when the thread has ended.
        started: when it was started, in seconds since 1970.
    """

    plan: GridPlan
    folder: Path
    progress: GridProgress
    grid: Grid[StoredCell]
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.time)

    @property
    def page_is_new(self) -> bool:
        """Whether its page is there, and is not one of an earlier drawing of the same grid."""
        try:
            written = (self.folder / PAGE).stat().st_mtime
        except OSError:
            return False
        return written > self.started - _CLOCK

    @property
    def state(self) -> str:
        """One of "running", "complete", "interrupted" and "failed"."""
        if not self.ended.is_set():
            return "running"
        if self.problem:
            return "failed"
        return "complete" if self.grid.complete else "interrupted"


class Jobs:
    """Starts and stops the drawing of grids; one grid is drawn at a time.

    Args:
        host: draws the pictures.
        staging: copies the adapters to where the host finds them.
        check: compares an adapter with the base model that the host has loaded.
    """

    def __init__(self, host: Host, staging: Staging, check: Callable[[Checkpoint], Fit]) -> None:
        self._host = host
        self._staging = staging
        self._check = check
        self.store = CellStore(host.output_folder() / "cells")
        self._starting = threading.Lock()
        self.last: Job | None = None
        # A host that was killed has left its copies behind, and so did version 0.1.0.
        staging.clear()
        empty(host.lora_folder() / OLD_FOLDER)

    def start(self, plan: GridPlan, folder: Path, form: Mapping[str, Any] | None = None) -> Job:
        """Start drawing a grid in the background; cells that were drawn before are reused.

        Args:
            plan: what the grid shows.
            folder: where its page and picture are written.
            form: the request for it, which is kept beside the plan.

        Raises:
            ConfigError: another grid is being drawn, or a prompt holds a tag such as
                <hypernet:...>.
            EnvironmentFault: the plan cannot be written, so nothing is drawn.
        """
        for row in plan.rows:
            refuse_tags(row.test.prompt)
            refuse_tags(row.test.negative_prompt)
        with self._starting:
            if self.last is not None and self.last.state == "running":
                raise ConfigError(
                    f"another grid is being drawn: {self.last.progress}",
                    where="grid",
                    fix="wait for it, or interrupt it: its finished pictures are kept",
                )
            if not (folder / PLAN).is_file():
                write_plan(folder, Grid(plan), form)
            self.last = Job(plan, folder, GridProgress(0, plan.size, 0, None), Grid(plan))
        threading.Thread(target=self._work, args=(self.last, form), daemon=True).start()
        return self.last

    def is_drawing(self, folder: Path) -> bool:
        """Return whether the grid of a folder is being drawn."""
        last = self.last
        return last is not None and last.state == "running" and last.folder == folder

    def interrupt(self) -> None:
        """Stop the grid that is being drawn; its finished pictures are kept."""
        if self.last is not None and self.last.state == "running":
            self.last.stop.set()
            self._host.interrupt()

    def _work(self, job: Job, form: Mapping[str, Any] | None) -> None:
        try:
            self._draw(job, form)
        except LycorisExtError as error:
            job.problem = str(error)
        except Exception as error:
            # An exception ends the thread unseen: show it in the tab, and raise it for the log.
            job.problem = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._staging.clear()
            job.ended.set()

    def _draw(self, job: Job, form: Mapping[str, Any] | None) -> None:
        checkpoints = {e.hash: read_checkpoint(e.file) for e in job.plan.used}
        shown = {
            hash: self._host.name_of_network(known.path) or known.name
            for hash, known in checkpoints.items()
        }
        for entrant in job.plan.used:
            self._staging.stage(entrant.file, entrant.hash)

        def staged(use: Use) -> Staged:
            known = checkpoints[use.entrant.hash]
            path = self._staging.stage(use.entrant.file, use.entrant.hash)
            model_hash = known.summary.hash.computed
            return Staged(path.stem, path, shown[use.entrant.hash], model_hash, use.strength)

        def check(entrant: Entrant) -> Fit:
            # The host draws with the copy, so check the copy: the original may have changed.
            path = self._staging.stage(entrant.file, entrant.hash)
            try:
                fit = self._check(replace(checkpoints[entrant.hash], path=path))
            except LycorisExtError as error:
                return Fit(0, (), (), (error.what,))
            job.notes += [f"{entrant.name}: {remark}" for remark in fit.remarks]
            return fit

        writer = GridWriter(
            job.folder,
            about=self._host.traits().name,
            checkpoints=checkpoints,
            votes_url=_VOTES,
            form=form,
        )

        def progress(now: GridProgress, grid: Grid[StoredCell]) -> None:
            job.progress, job.grid = now, grid
            if grid.cells:  # else an earlier page is kept
                writer.update(grid)

        try:
            draw_grid(
                job.plan,
                WebuiPainter(self._host, staged, check),
                self.store,
                progress=progress,
                stopped=job.stop.is_set,
            )
        finally:
            if job.grid.cells:  # else an earlier page is kept
                writer.finish(job.grid)
            job.notes += [str(error) for error in writer.problems.values()]
            self._host.forget(staged_name(e.file.stem, e.hash) for e in job.plan.used)

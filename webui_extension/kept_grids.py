"""The grids on the disk: list them, hide or delete one, and give its request back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.plan_file import PLAN, read_form, read_keys, read_plan
from lycoris_ext.os_errors import reason, remedy_for_writing
from webui_extension.allowed_folders import NotAllowed
from webui_extension.jobs import Jobs

#: A file in the folder of a grid that is left out of the list.
_HIDDEN = "hidden"


class KeptGrids:
    """The grids in a folder, each in a folder of its own that is named by its id.

    Args:
        root: the folder; it need not exist.
        jobs: draws the grids, and knows where their pictures are kept.
    """

    def __init__(self, root: Path, jobs: Jobs) -> None:
        self._root = root
        self._jobs = jobs

    def folder(self, grid: str) -> Path:
        """Return the folder of a grid's page, picture and plan, which need not exist.

        Args:
            grid: the grid's id, 16 hex digits.

        Raises:
            NotAllowed: the text is no such id.
        """
        if len(grid) != 16 or set(grid) - set("0123456789abcdef"):
            raise NotAllowed("this is no grid's id", where=grid[:40], fix="list the grids")
        return self._root / grid

    def file(self, grid: str, name: str) -> Path:
        """Return the path of one of a grid's files.

        Raises:
            DataError: it is not written yet.
        """
        path = self.folder(grid) / name
        if not path.is_file():
            raise DataError(
                "this grid's file is not written yet", where=name, fix="draw the grid first"
            )
        return path

    def ids(self, *, hidden: bool = False) -> list[str]:
        """Return the ids of the grids, newest first.

        Args:
            hidden: whether hidden grids are among them.
        """
        dated = []
        for path in self._root.glob(f"*/{PLAN}"):
            try:
                if hidden or not path.with_name(_HIDDEN).exists():
                    dated.append((path.stat().st_mtime, path.parent.name))
            except OSError:
                continue  # it was deleted at this moment
        return [name for _, name in sorted(dated, reverse=True)]

    def hide(self, grid: str, hidden: bool = True) -> None:
        """Leave a grid out of the list, or take it in again.

        Raises:
            DataError: there is no such grid.
            EnvironmentFault: its folder cannot be written.
        """
        mark = self.file(grid, PLAN).with_name(_HIDDEN)
        try:
            if hidden:
                mark.touch()
            else:
                mark.unlink(missing_ok=True)
        except OSError as error:
            raise _fault(error, mark.parent) from error

    def delete(self, grid: str) -> None:
        """Delete a grid and those of its pictures that no other grid shows; votes are kept.

        Raises:
            ConfigError: it is being drawn.
            DataError: there is no such grid.
            EnvironmentFault: its folder cannot be deleted.
        """
        path = self.file(grid, PLAN)
        if self._jobs.is_drawing(path.parent):
            raise ConfigError("it is being drawn", where=grid, fix="interrupt it first")
        keys = self._keys(grid)
        others = [other for other in self.ids(hidden=True) if other != grid]
        shared = {key for other in others for key in self._keys(other)}
        try:
            # Windows keeps a file that is open: the plan goes last, so that one can try again.
            for other in path.parent.iterdir():
                if other.is_dir():
                    shutil.rmtree(other)
                elif other != path:
                    other.unlink()
            shutil.rmtree(path.parent)
        except OSError as error:
            raise _fault(error, path.parent) from error
        self._jobs.store.remove(keys - shared)

    def form(self, grid: str) -> dict[str, Any]:
        """Return the fields of the request for a grid, as of `schemas.GRID`.

        Raises:
            DataError: there is no such grid, or its plan is damaged.
        """
        path = self.file(grid, PLAN)
        return read_form(path) or form_of(read_plan(path))

    def _keys(self, grid: str) -> set[str]:
        try:
            return read_keys(self.folder(grid) / PLAN)
        except DataError:
            return set()  # written by another version


def form_of(plan: GridPlan) -> dict[str, Any]:
    """Return a request that draws the rows and columns of a plan, whose own was not kept.

    If its rows are no full combination of prompts, seeds and models, it draws more than they.
    """
    first = plan.rows[0]
    lines = []
    for row in plan.rows:
        tags = "".join(f" <lora:{use.entrant.name}:{use.strength}>" for use in row.beside)
        negative = row.test.negative_prompt
        lines.append(row.test.prompt + tags + (f" --n {negative}" if negative else ""))
    return {
        "files": [str(entrant.path) for entrant in plan.entrants],
        "prompts": list(dict.fromkeys(lines)),
        "strengths": list(dict.fromkeys(str(c.strength) for c in plan.columns if c.entrant))
        or ["1"],
        "seeds": list(dict.fromkeys(row.seed for row in plan.rows)),
        "base_models": [model for model in plan.base_models if model],
        "width": first.settings.width,
        "height": first.settings.height,
        **{
            name: list(dict.fromkeys(getattr(row.settings, name) for row in plan.rows))
            for name in ("steps", "cfg_scale", "sampler", "clip_skip")
        },
    }


def _fault(error: OSError, folder: Path) -> EnvironmentFault:
    return EnvironmentFault(
        f"the grid's folder cannot be changed ({reason(error)})",
        where=str(folder),
        fix=remedy_for_writing(error, "close programs that have its files open"),
    )

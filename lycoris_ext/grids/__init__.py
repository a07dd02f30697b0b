"""Comparing adapters: the same prompts and seeds without and with each of them, on one grid.

    plan = GridPlan.crossed(entrants, (PromptTest("a cat"),), strengths=(Strength(0.8, 0.8),))
    grid = draw_grid(plan, painter, CellStore(folder / "cells"))
    page = write_grid(folder, grid)
    picture = grid_picture(grid, title=plan.title)

A plan says what is drawn: adapters across, everything else down. Whoever has a model is a
`Painter`: `pipeline_painter` for the project's own pipeline, and one for each host beside it.
"""

from __future__ import annotations

from lycoris_ext.grids.cells import CellStore, MemoryStore, Painted, StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles, list_run, read_checkpoint
from lycoris_ext.grids.draw import Grid, GridProgress, Painter, draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength, told_apart
from lycoris_ext.grids.fit import Fit, HostTraits, check_fit
from lycoris_ext.grids.output import grid_picture, read_plan, write_grid
from lycoris_ext.grids.page import grid_page
from lycoris_ext.grids.plan import BARE, Cell, Column, GridPlan, Row, parse_seeds
from lycoris_ext.grids.prompt_tests import PROMPT_TESTS, PromptTest, fill
from lycoris_ext.grids.settings import Settings
from lycoris_ext.grids.votes import Vote, cast, read_votes, tally

__all__ = [
    "BARE",
    "PROMPT_TESTS",
    "Cell",
    "CellStore",
    "Checkpoint",
    "Column",
    "Entrant",
    "Fit",
    "Grid",
    "GridPlan",
    "GridProgress",
    "HostTraits",
    "MemoryStore",
    "Painted",
    "Painter",
    "PromptTest",
    "Row",
    "RunFiles",
    "Settings",
    "StoredCell",
    "Strength",
    "Vote",
    "cast",
    "check_fit",
    "draw_grid",
    "fill",
    "grid_page",
    "grid_picture",
    "list_run",
    "parse_seeds",
    "read_checkpoint",
    "read_plan",
    "read_votes",
    "tally",
    "told_apart",
    "write_grid",
]

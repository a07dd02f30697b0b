"""Comparing what was trained: the checkpoints of a run on one grid, judged side by side.

    plan = GridPlan(entrants, (PromptTest("a cat"),), strengths=(Strength(0.8, 0.8),))
    grid = draw_grid(plan, painter, CellStore(folder / "cells"))
    page = write_grid(folder, grid, title="tilty")

Nothing here draws a picture or knows a host: whoever has a model is a `Painter`.
"""

from __future__ import annotations

from lycoris_ext.grids.cells import CellStore, Painted, StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles, list_run, read_checkpoint
from lycoris_ext.grids.draw import Grid, GridProgress, Painter, draw_grid
from lycoris_ext.grids.fit import Fit, HostTraits, check_fit
from lycoris_ext.grids.output import grid_picture, read_plan, write_grid
from lycoris_ext.grids.page import grid_page
from lycoris_ext.grids.plan import Cell, Column, Entrant, GridPlan, Row, Settings, Strength
from lycoris_ext.grids.prompt_tests import PROMPT_TESTS, PromptTest, fill
from lycoris_ext.grids.votes import Vote, cast, read_votes, tally

__all__ = [
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
    "read_checkpoint",
    "read_plan",
    "read_votes",
    "tally",
    "write_grid",
]

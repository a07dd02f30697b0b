"""Comparing what was trained: the checkpoints of a run on one grid, judged side by side.

    plan = GridPlan(entrants, (PromptTest("a cat"),), strengths=(Strength(0.8, 0.8),))
    grid = draw_grid(plan, painter, CellStore(folder / "cells"))
    page = write_grid(folder, grid, title="tilty")

Nothing here draws a picture or knows a host: whoever has a model is a `Painter`.
"""

from __future__ import annotations

from lycoris_ext.experiments.cells import CellStore, Painted, StoredCell
from lycoris_ext.experiments.checkpoints import Checkpoint, RunFiles, list_run, read_checkpoint
from lycoris_ext.experiments.draw import Grid, GridProgress, Painter, draw_grid
from lycoris_ext.experiments.fit import Fit, HostTraits, check_fit
from lycoris_ext.experiments.output import grid_picture, read_plan, write_grid
from lycoris_ext.experiments.page import grid_page
from lycoris_ext.experiments.plan import Cell, Column, Entrant, GridPlan, Row, Settings, Strength
from lycoris_ext.experiments.prompt_tests import PRESETS, PromptTest, fill
from lycoris_ext.experiments.votes import Vote, cast, read_votes, tally

__all__ = [
    "PRESETS",
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

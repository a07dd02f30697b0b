"""Compare adapters in a grid: the same prompts and seeds, without and with each adapter.

    plan = GridPlan.crossed(entrants, (PromptTest("a cat"),), strengths=(Strength(0.8, 0.8),))
    grid = draw_grid(plan, painter, CellStore(folder / "drawn"))
    page = write_grid(folder, grid)
    picture = grid_picture(grid, title=plan.title)

A plan says what is drawn: a column per adapter and strength, a row per prompt, seed and model. A
`Painter` draws the pictures: `pipeline_painter` does with this project's diffusers pipeline, and
the packages for AUTOMATIC1111 and ComfyUI have painters of their own.
"""

from __future__ import annotations

from lycoris_ext.grids.cells import CellStore, MemoryStore, Painted, StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles, list_run, read_checkpoint
from lycoris_ext.grids.draw import Grid, GridProgress, Painter, draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength, Use, with_unique_names
from lycoris_ext.grids.fit import Fit, HostTraits, check_fit
from lycoris_ext.grids.output import GridWriter, grid_picture, write_grid
from lycoris_ext.grids.page import grid_page
from lycoris_ext.grids.plan import BARE, Cell, Column, GridPlan, Row, parse_seeds
from lycoris_ext.grids.plan_file import read_grid, read_plan
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
    "GridWriter",
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
    "Use",
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
    "read_grid",
    "read_plan",
    "read_votes",
    "tally",
    "with_unique_names",
    "write_grid",
]
